#!/usr/bin/env bash
# On each rank, for launch_until_done: run a command and note in the file HPC_SR_CODE_FILE if it ends with 2 or 75.
# srun would not tell: its own exit code is that of the ranks which it ends by a signal because one has ended by itself.
trap : TERM USR1 # they are the command's, which gets them too
code=0
"$@" || code=$?
case $code in
    2) echo 2 >"$HPC_SR_CODE_FILE" ;;
    75)
        echo 75 >"$HPC_SR_CODE_FILE"
        exit 0 # so that srun lets the other ranks finish: all have agreed to stop
        ;;
esac
exit "$code"
