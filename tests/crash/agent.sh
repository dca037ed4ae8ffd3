#!/bin/sh
# The agent of the crash points. The lock on descriptor 9 is held by its whole process tree: a second tree beside it is written down.
base=$(dirname "$0")
exec 9>>"$base/log/tree"
flock -n 9 || echo "$VERMAS_SESSION" >>"$base/log/doubles"
echo "$VERMAS_SESSION" >>"$base/log/starts"
commit() {
    [ -e "$1" ] && return
    echo "the work on $VERMAS_BEAD" >"$1"
    git add "$1"
    git commit -qm "work on $1"
}
case $(cat "$base/mode") in
idle) exec sleep 1000 ;;
busy)
    commit work.txt
    echo "not committed" >loose.txt
    touch "$base/log/busy"
    exec sleep 1000
    ;;
work) commit work.txt && exec vermas done ;;
red)
    if [ "$VERMAS_SESSION_NO" != 1 ]; then exec vermas done --exit escalated -m "still red"; fi
    commit red.txt && exec vermas done
    ;;
again) # the verb is killed, and typed again in the same session
    commit work.txt
    if mkdir "$base/log/tried"; then LD_PRELOAD="$base/crashpoint.so" vermas done && exit; fi
    exec vermas done
    ;;
dies) # the verb is killed, and the agent with it
    commit work.txt
    if mkdir "$base/log/tried"; then export LD_PRELOAD="$base/crashpoint.so"; fi
    exec vermas done
    ;;
esac
