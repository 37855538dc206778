#!/bin/sh
# Copies a store while services and jobs use it:  sh backup.sh STORE TARGET
# STORE is the folder of the store, TARGET a folder that does not exist yet.
#
# Files of a table never change. A version of a table is a file in _versions that names the files with its rows. So each
# table's _versions is copied first, and the files that it names afterwards: in another order, a version could name a
# file that is written after the others were copied. Assets are stored before their vectors, and these before their
# labels; so labels are copied first and assets last, and no label is without its asset.
set -eu
export LC_ALL=C
store=$1 target=$2
mkdir "$target"

take() {
    # A temporary file may vanish while cp reads the folder. Every other fault ends the script.
    if ! cp -R "$1" "$2/" 2>"$target/errors" && grep -v 'No such file or directory$' "$target/errors" >&2; then
        exit 1
    fi
}

for table in "$store"/labels.lance "$store"/quarantine.lance "$store"/tokens_*.lance "$store"/features_*.lance \
    "$store"/assets.lance; do
    [ -d "$table" ] || continue
    copy=$target/$(basename "$table")
    mkdir "$copy"
    take "$table/_versions" "$copy"
    for part in "$table"/*; do
        [ "$part" = "$table/_versions" ] || take "$part" "$copy"
    done
done
rm -f "$target/errors"
