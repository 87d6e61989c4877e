#!/ usr / bin / env bash
#tests / ends / figures.sh[--asan DIR][--tsan DIR][--bugs][--differential N][--chaos N][BUILD]
#Runs the test families of docs / reliability.md and writes what they count into its table.
#BUILD : a build folder with the test programs(build / release).--asan, \
    --tsan : the same with a sanitizer : the sweeps run
#there too, and its reports are counted.--bugs : tests / bugs / run.sh(half an hour).--differential, \
    --chaos : so many
#programs,                                                                                               \
    so many HTTP requests.What is not asked for keeps its row.FIBRIO_ENDS_ROUNDS : how large(1           \
                                                                                             : as in CI) \
        .
set - euo pipefail source "$(dirname " $ { BASH_SOURCE[0] }
")/../../.ci/setup.sh"

    build = build / release page = docs / reliability.md bugs = 0 differential = 0 chaos =
                                       0 declare - A sanitizers while[$ # - gt 0];
do
  case $1 in
    --asan | --tsan) sanitizers[${1#--}]=$2 && shift ;;
    --bugs) bugs=1 ;;
    --differential) differential=$2 && shift ;;
    --chaos) chaos=$2 && shift ;;
    -*) die "no option '$1'; see its head" ;;
    *) build=$1 ;;
  esac
  shift
done
[ -x "$build/tests/ends_tests" ] || die "$build has no tests/ends_tests: build it first"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
seed=$((16#$(git rev-parse --short=8 HEAD)))
failed=0

#row < key> < text of the row> : replaces the row with this key, or adds it.
row() { printf '%s\t%s\n' "$1" "$2" >>"$work/rows"; }
thousands() { printf '%s' "$1" | rev | sed 's/.../&,/g; s/,$//' | rev; }

#sweeps < name> < program>
sweeps() {
  local code=0
  "$2" >"$work/$1.log" 2>&1 || code=$?
  [ $code -eq 0 ] || { tail -n 20 "$work/$1.log" && failed=1; }
  grep '^ends: .*points=' "$work/$1.log" >"$work/$1.ends" || true
}

say "The sweeps (plain)"
sweeps plain "$build/tests/ends_tests"
while read -r _ name counts; do
  name=${name%:
  }
  eval "$counts" # points= runs= faults= survived=
  row "$name" "| \`$name\` | $(thousands "$points") | $(thousands "$runs") | $(thousands "$faults") | $(thousands "$survived") |"
done <"$work/plain.ends"

for kind in "${!sanitizers[@]}";
  do
    say "The sweeps ($kind)"
  sweeps "$kind" "${sanitizers[$kind]}/tests/ends_tests"
  reports=$(grep -cE 'ERROR: (Address|Leak)Sanitizer|WARNING: ThreadSanitizer|runtime error:' "$work/$kind.log" || true)
  runs=$(sed 's/.*runs=\([0-9]*\).*/\1/' "$work/$kind.ends" | awk '{ sum += $1 } END { print sum + 0 }')
  row "reports_$kind" "| the sweeps under $kind | | $(thousands "$runs") | | $reports reports |"
done
if [ $bugs -eq 1 ];
  then say "Seeded bugs"./ tests / bugs / run.sh | tee "$work/bugs.log" || failed =
      1 row bugs "| seeded bugs, \`tests/bugs\` | | | | killed $(sed -n 's/^bugs: killed //p' " $work /
      bugs.log ") |" fi if["$differential" - gt 0];
  then say "Differential tests"./ tests / differential / run.sh-- programs "$differential" --seed "$seed" |
          tee "$work/differential.log" ||
      failed =
      1 row differential "| fresh programs on fibrio and asyncio, seed $seed | | $(thousands " $differential
                         ") | | the same traces |" fi if["$chaos" - gt 0];
  then say
      "HTTP through a chaos proxy"
      "$build/tests/chaos_load" --requests = "$chaos" --seed =
          "$seed" | tee "$work/chaos.log" || failed =
              1 row chaos "| HTTP requests through a chaos proxy, seed $seed | | $(thousands " $chaos
                          ") | | $(tail -n 1 " $work /
                  chaos.log ") |" fi[$failed - eq 0] ||
              die "a family has failed: $page is left as it was"
#Rows are found again by what stands in their first column.
                  awk -
                  v rows = "$work/rows" ' BEGIN {
    while ((getline line < rows) > 0) {
      split(line, part, "\t") split(part[2], cell, "|") order[++count] = cell[2] text[cell[2]] =
          part[2] gsub(/, seed[0 - 9] + /, "", cell[2]) key[cell[2]] = order[count]
    }
  }
  / ^<!--figures : end--> / {
    for (i = 1; i <= count; ++i)
      if (!(order[i] in done)) print text[order[i]] inside = 0
  }
  inside&& / ^\| / {
    split($0, cell, "|") name = cell[2] gsub(/, seed[0 - 9] + /, "", name) if (name in key) {
      print text[key[name]] done[key[name]] = 1 next
    }
  }
  {print} / ^<!--figures : begin--> / { inside = 1 }
  ' "$page" >"$work/page" cp
      "$work/page"
      "$page" say "$page has the figures of $(wc -l <" $work /
      rows " | tr -d ' ') rows ($SECONDS s)"
