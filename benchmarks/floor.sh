#!/usr/bin/env bash
# The physical limit of "slot + git worktree + tmux session + merge": the same work as a run of VerMAS with no orchestrator at all.
#
#   benchmarks/floor.sh TASKS SLOTS REPOSITORY [DIRECTORY]
#
# A shell loop per slot takes a task, makes a worktree (cold: a new one for each task, only its bookkeeping under a lock), starts a tmux
# session with the agent (writes one file, git add, git commit), hears of its end through a FIFO, merges by plumbing (one at a time), and
# removes worktree and branch. $EPOCHREALTIME times the stages: no process is started for it.
#
#   AGENT_SLEEP=0   seconds that the agent thinks
#
# It checks itself: every task's file must be on main, and no worktree, branch or session may be left. The last line is RESULT …, the exit
# code 0 only when all is right. Only its own tmux server (-L floor$$) and its own DIRECTORY are touched.
set -u
TASKS=${1:?tasks} SLOTS=${2:?slots} SOURCE=${3:?repository} WORK=${4:-${TMPDIR:-/tmp}/floor.$$}
AGENT_SLEEP=${AGENT_SLEEP:-0}
export GIT_AUTHOR_NAME=floor GIT_AUTHOR_EMAIL=floor@localhost GIT_COMMITTER_NAME=floor GIT_COMMITTER_EMAIL=floor@localhost
export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=gc.auto GIT_CONFIG_VALUE_0=0
unset TMUX TMUX_PANE
TM="tmux -L floor$$ -f /dev/null"
mkdir -p "$WORK"/{worktrees,locks,log,fifo} || exit 2
WORK=$(cd "$WORK" && pwd) REPO=$WORK/repo
trap '$TM kill-server 2>/dev/null; rm -rf "$WORK"' EXIT
git clone -q --shared "$SOURCE" "$REPO" || exit 2 # the source is never written to
cd "$REPO" && git checkout -q -B main && echo 0 > "$WORK/next"
$TM new-session -d -s keeper 'exec sleep 86400' # keeps the server up: no races of starting and ending
cat > "$WORK/agent.sh" << 'AGENT'
[ "$2" = 0 ] || sleep "$2"
echo "result of task $1" > "task_$1.txt" && git add . && git commit -q -m "task $1"
AGENT

now() { local t=${EPOCHREALTIME/[.,]/}; printf -v "$1" %s "$t"; } # microseconds

slot() { # takes tasks until none is left
  local s=$1 i t0 t1 t2 t3 t4 t5 tree old new code worktree=$WORK/worktrees/slot$1 log=$WORK/log/$1 fifo=$WORK/fifo/$1
  mkfifo "$fifo"; exec 7<>"$fifo" 8>"$WORK/locks/repo" 9>"$WORK/locks/slot$s"
  while :; do
    flock -n 9 || exit 4
    exec 6<>"$WORK/next"; flock 6; read -r i <&6; i=$((i + 1)); echo "$i" > "$WORK/next"; exec 6>&-
    [ "$i" -gt "$TASKS" ] && break
    now t0
    flock 8; git worktree add -q --no-checkout --no-track -b "task/$i" "$worktree" main || echo "FAIL tree $i" >> "$log.err"; flock -u 8
    git -C "$worktree" reset -q --hard || echo "FAIL tree $i" >> "$log.err"
    now t1
    $TM new-session -d -s "slot$s" -c "$worktree" "sh $WORK/agent.sh $i $AGENT_SLEEP; echo \$? > $fifo" || echo "FAIL session $i" >> "$log.err"
    now t2
    read -r -t 120 code <&7 && [ "$code" = 0 ] || echo "FAIL agent $i: ${code:-no answer}" >> "$log.err"
    now t3
    exec 5>"$WORK/locks/merge"; flock 5
    old=$(git rev-parse main) && tree=$(git merge-tree --write-tree main "task/$i") &&
      new=$(git commit-tree "$tree" -p "$old" -p "task/$i" -m "merge task $i") &&
      git update-ref refs/heads/main "$new" "$old" || echo "FAIL merge $i" >> "$log.err"
    exec 5>&-
    now t4
    $TM kill-session -t "=slot$s" 2>/dev/null # the FIFO is written before the pane's shell is gone
    mv "$worktree" "$worktree.gone"
    flock 8; rm -rf "$REPO/.git/worktrees/slot$s"; git branch -qD "task/$i" || echo "FAIL clean $i" >> "$log.err"; flock -u 8
    rm -rf "$worktree.gone"
    flock -u 9
    now t5
    echo "$((t1 - t0)) $((t2 - t1)) $((t3 - t2)) $((t4 - t3)) $((t5 - t4)) $((t5 - t0))" >> "$log"
  done
  exit 0
}

now START
pids=(); for s in $(seq "$SLOTS"); do slot "$s" & pids+=($!); done
bad=0; for p in "${pids[@]}"; do wait "$p" || bad=$((bad + 1)); done
now END
files=$(git ls-tree --name-only main | grep -c '^task_[0-9]*\.txt$') branches=$(git for-each-ref refs/heads/task | wc -l)
worktrees=$(git worktree list --porcelain | grep -c '^worktree ') sessions=$($TM list-sessions -F '#S' | grep -vc '^keeper$')
errors=$(cat "$WORK"/log/*.err 2>/dev/null | wc -l); cat "$WORK"/log/*.err 2>/dev/null | head -5 >&2
ok=no; [ "$files $branches $worktrees $sessions $errors $bad" = "$TASKS 0 1 0 0 0" ] && ok=yes
cat "$WORK"/log/[0-9]* | grep -v FAIL | awk '
  { for (k = 1; k <= 6; k++) { v[k, NR] = $k; s[k] += $k } }
  END {
    split("tree session agent merge clean total", name, " ")
    for (k = 1; k <= 6; k++) {
      for (i = 1; i <= NR; i++) m[i] = v[k, i]
      for (i = 2; i <= NR; i++) { x = m[i]; for (j = i - 1; j > 0 && m[j] > x; j--) m[j + 1] = m[j]; m[j + 1] = x }
      printf "  %-8s median %7.1f ms  p90 %7.1f ms  share %4.1f %%\n", name[k], m[int((NR + 1) / 2)] / 1000, m[int(NR * .9 + .5)] / 1000, 100 * s[k] / s[6]
    }
  }'
echo "RESULT ok=$ok tasks=$TASKS slots=$SLOTS files=$files branches=$branches worktrees=$worktrees sessions=$sessions errors=$errors" \
  "wall_s=$(awk "BEGIN { printf \"%.3f\", $((END - START)) / 1e6 }")"
[ $ok = yes ]
