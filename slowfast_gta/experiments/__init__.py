"""Several configs x seeds, and the table that comes of them.

table: its YAML · plan: the runs that it takes · sweep: running them · outcomes, marks: what runs left, and what each
video counts · rates: the learning rate of each row · statistics · comparison: figures and differences · order: forwards
and backwards · pages: results.md, .csv, .html · finished: runs of any origin
"""
