#!/bin/sh
export LC_ALL=C
set -f
git notes --ref=ci list | while read -r note commit; do
    tree=$(git rev-parse --quiet --verify "$commit^{tree}") || continue
    git cat-file blob "$note" | while IFS= read -r line; do
        # Printable, not too long, and with a version that is known.
        case $line in *[!\ -~]*) continue ;; esac
        [ ${#line} -le 512 ] || continue
        set -- $line
        [ $# -gt 6 ] && [ "$6" = v=1 ] || continue
        status=$1 job=$2 time=$4; shift 6
        case $status in ERROR | FAIL | FLAKY | pass | skip) ;; *) continue ;; esac
        case $job in [!a-z0-9]* | *[!][a-z0-9._/=,-]*) continue ;; esac
        case $time in
        [0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]Z) ;;
        *) continue ;;
        esac
        why=- tested= bound=$commit
        for word; do
            case $word in
            why=*) why=${word#*=} ;;
            tree=*) tested=${word#*=} ;;
            commit=*) bound=${word#*=} ;;
            esac
        done
        [ "$tested $bound" = "$tree $commit" ] && state=ok || state=stale
        printf '%s\n' "$commit $state $status $job $time $why"
    done
done
