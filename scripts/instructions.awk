# Compares counts of instructions with a baseline: awk -f instructions.awk baseline counted
#
# Rows are "backend suite bytes operation count", and rows of the AEAD alone have an operation
# "raw.…". All other lines say where was counted, and have to be the same on both sides: counts of
# another compiler or processor say nothing. Only our own rows can fail, at more than 3 %.

function is_row() { return NF == 5 && $5 ~ /^[0-9]+$/ }
function fault(text) { print "FAIL: " text; failed = 1 }

FNR == 1 { files++ }
/^#/ || NF == 0 { next }
!is_row() && files == 1 { where[$0]; next }
!is_row() { if ($0 in where) delete where[$0]; else fault("counted elsewhere: here is \"" $0 "\""); next }
files == 1 { before[$1, $2, $3, $4] = $5; next }
{
    if (!heading++)
        printf "%-7s %-24s %5s %-10s %7s %7s %7s %6s\n",
            "backend", "suite", "bytes", "operation", "before", "now", "change", "ratio"
    key = $1 SUBSEP $2 SUBSEP $3 SUBSEP $4
    raw[$1, $2, $3, $4] = $5
    base = raw[$1, $2, $3, ($4 ~ /open/ ? "raw.open" : "raw.seal")]
    if (!(key in before)) { fault("no baseline for " $0); next }
    change = 100 * ($5 / before[key] - 1)
    worse = $4 !~ /^raw/ && change > 3
    failed = failed || worse
    printf "%-7s %-24s %5d %-10s %7d %7d %+6.1f%% %6.2f%s\n",
        $1, $2, $3, $4, before[key], $5, change, $5 / base, worse ? "  WORSE" : ""
    delete before[key]
}
END {
    for (line in where) fault("the baseline is of \"" line "\"")
    for (key in before) { sub(SUBSEP, " ", key); fault("not counted: " key) }
    exit failed
}
