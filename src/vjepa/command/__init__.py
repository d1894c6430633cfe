"""The command line: which commands there are, how their arguments are read, how mistakes are reported.

table        which commands and stages there are
source       what a function takes, read from its source without importing it
pages        the help pages
parser       the parser of a command: one argument for each parameter of a typed function
yaml_text    texts of YAML, which are refused if they would fill the memory
suggestions  a parser's complaint as one sentence, with what was probably meant
mistakes     what a user can correct is one sentence and status 2
exit_status  the exit statuses of a program that a signal ends
recipes      where the recipes are, inside the package or in the repository, and which of them a stage gets
stage_line   the command line of a stage: recipe, folder, and what earlier stages made
program      a stage as a program: help before imports, mistakes of imports too
demo         the command `demo`
tensorboard  the command `tensorboard`
"""
