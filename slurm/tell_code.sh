#!/usr/bin/env bash
# On each rank, for launch_until_done: run a command and note in the file HPC_SR_CODE_FILE if it ends with 2 or 75.
# srun would not tell: its own exit code is that of the ranks which it ends by a signal because one has ended by itself.
trap : TERM USR1 USR2 INT HUP XCPU # they are the command's, which gets them too

tell() { # add the code to the file, if it is there: nobody would remove it after a job that is cancelled
    echo "$1" | dd of="$HPC_SR_CODE_FILE" conv=nocreat,notrunc oflag=append status=none 2>/dev/null || true
}

code=0
"$@" || code=$?
case $code in
    2) tell 2 ;;
    75)
        tell 75
        exit 0 # so that srun lets the other ranks finish: all have agreed to stop
        ;;
esac
exit "$code"
