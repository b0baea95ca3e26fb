"""MA-LMM: questions and captions for long video, in constant memory.

memory/      banks of fixed length, their rules, and how they reach an unmodified Q-Former
models       InstructBLIP and BLIP-2 of transformers that watch videos; watching: one pass over the frames
loading      a folder of published weights -> a model; trained: what is learned, and the authors' checkpoints
answering    questions about one video; strip: a picture of what is in memory
tasks/       the paper's tasks: annotations -> samples, answers -> scores
loader, task, config    training and testing by the engine of slowfast_gta
tiny, needle            small models and the experiment that shows what the memory is for
commands/    ask, run, and the proofs
"""
