# awk -f compare.awk baseline.txt now.txt
# Both: "<path> <instructions per operation>" lines; comments begin with #. Prints the table; fails if a path takes
# over 3 % more than in the baseline, is in one file only, or twice in one; and at a line that is none of these.
BEGIN { kTolerance = 0.03 }

/^#/ || NF == 0 { next }
NF != 2 || $2 !~ /^[0-9]+([.][0-9]+)?$/ || $2 == 0 { refuse("not '<path> <instructions>': " $0) }
seen[FILENAME, $1]++ { refuse($1 " is there twice") }
FILENAME == ARGV[1] { baseline[$1] = $2; next }
{ now[$1] = $2; order[++paths] = $1 }

function refuse(why) {
  print "instructions: FAILED: " FILENAME ":" FNR ": " why
  refused = 1
  exit 1
}

END {
  if (refused) exit 1
  printf "%-30s %12s %12s %8s\n", "path", "baseline", "now", "ratio"
  for (i = 1; i <= paths; ++i) {
    path = order[i]
    if (!(path in baseline)) {
      printf "%-30s %12s %12.1f %8s  FAILED: not in the baseline\n", path, "-", now[path], "-"
      ++failed
      continue
    }
    ratio = now[path] / baseline[path]
    verdict = ""
    if (ratio > 1 + kTolerance) {
      verdict = "  FAILED: slower"
      ++failed
    } else if (ratio < 1 - kTolerance) {
      verdict = "  faster"
      ++faster
    }
    printf "%-30s %12.1f %12.1f %8.3f%s\n", path, baseline[path], now[path], ratio, verdict
  }
  for (path in baseline) {
    if (path in now) continue
    printf "%-30s %12.1f %12s %8s  FAILED: no longer counted\n", path, baseline[path], "-", "-"
    ++failed
  }
  if (faster) print "instructions: faster by over 3 %: " faster "; tighten the baseline (check.sh --update)"
  if (failed) {
    print "instructions: FAILED: " failed " of " paths " paths. If that is the price of something, take it into the" \
      " baseline (check.sh --update) and give the reason in the commit message"
    exit 1
  }
  print "instructions: " paths " paths, none over its baseline by more than 3 %"
}
