"""Several configs x seeds, and the table that comes of them.

table: its YAML · plan: the runs that it takes · sweep: running them · outcomes: what runs left · statistics
comparison: figures and differences · pages: results.md, .csv, .html
"""
