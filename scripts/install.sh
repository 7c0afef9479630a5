#!/usr/bin/env bash
# install.sh install|uninstall [PART ...]: puts what was built below DESTDIR and PREFIX, or takes it away again.
# Parts: library command element gimp model docs; all where none is named. BUILT is where cargo put the release build.
# Pages of the manual and completions are printed by the command: where it was built for another machine, SSMOESR names
# one that runs here.
set -euo pipefail
cd "$(dirname "$0")/.."

action=$1
shift
parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(library command element gimp model docs)
prefix=${PREFIX:-/usr/local}
libdir=${LIBDIR:-$prefix/lib}
includedir=${INCLUDEDIR:-$prefix/include}
share=$prefix/share
mandir=${MANDIR:-$share/man}
bash_completions=${BASH_COMPLETIONS:-$share/bash-completion/completions}
zsh_completions=${ZSH_COMPLETIONS:-$share/zsh/site-functions}
fish_completions=${FISH_COMPLETIONS:-$share/fish/vendor_completions.d}
built=${BUILT:-${CARGO_TARGET_DIR:-target}/release}
for folder in "$prefix" "$libdir" "$includedir" "$mandir" "$bash_completions" "$zsh_completions" "$fish_completions"; do
    [[ $folder = /* ]] || { echo "install: $folder is not an absolute path" >&2; exit 2; }
done

number() { sed -n "s/^#define SSMOESR_$1 //p" include/ssmoesr.h; }
version=$(number VERSION_MAJOR).$(number VERSION_MINOR).$(number VERSION_PATCH)
api=$(number API_VERSION)
# The version behind the number of the binary interface.
object=libssmoesr.so.$api.${version#*.}

# cargo leaves libraries that only tests asked for in deps/; an older build may lie beside it.
find_built() {
    if [ "$built/deps/$1" -nt "$built/$1" ]; then
        echo "$built/deps/$1"
    else
        echo "$built/$1"
    fi
}

# One for the command and each of its subcommands.
pages=(ssmoesr ssmoesr-upscale ssmoesr-model ssmoesr-model-info ssmoesr-model-check ssmoesr-model-dump
    ssmoesr-model-import ssmoesr-plan ssmoesr-bench ssmoesr-devices ssmoesr-completions ssmoesr-man)

# The list of files: mode, source, place. `link`, `pc`, `man` and `completions` are made here.
list() {
    case $1 in
    library)
        echo "755 $(find_built libssmoesr.so) $libdir/$object"
        echo "link $object $libdir/libssmoesr.so.$api"
        echo "link libssmoesr.so.$api $libdir/libssmoesr.so"
        echo "644 $(find_built libssmoesr.a) $libdir/libssmoesr.a"
        echo "644 include/ssmoesr.h $includedir/ssmoesr/ssmoesr.h"
        echo "644 include/ssmoesr.hpp $includedir/ssmoesr/ssmoesr.hpp"
        echo "pc ffi/ssmoesr.pc.in $libdir/pkgconfig/ssmoesr.pc"
        ;;
    command)
        echo "755 $(find_built ssmoesr) $prefix/bin/ssmoesr"
        for page in "${pages[@]}"; do
            echo "man $page $mandir/man1/$page.1"
        done
        echo "completions bash $bash_completions/ssmoesr"
        echo "completions zsh $zsh_completions/_ssmoesr"
        echo "completions fish $fish_completions/ssmoesr.fish"
        ;;
    element) echo "755 $(find_built libgstssmoesr.so) $libdir/gstreamer-1.0/libgstssmoesr.so" ;;
    gimp)
        # Any user's `ssmoesr-gimp --install` puts it where GIMP looks.
        echo "755 $(find_built ssmoesr-gimp) $prefix/bin/ssmoesr-gimp"
        ;;
    model)
        for file in models/*/*; do
            echo "644 $file $share/ssmoesr/$file"
        done
        ;;
    docs)
        for file in README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE; do
            echo "644 $file $share/doc/ssmoesr/$file"
        done
        ;;
    *) echo "install: unknown part $1" >&2; exit 2 ;;
    esac
}

missing() {
    echo "install: $1 is not there: run make build first" >&2
    exit 1
}

printer=${SSMOESR:-$(find_built ssmoesr)}
all=$(for part in "${parts[@]}"; do list "$part"; done)
if [ "$action" = install ]; then
    while read -r mode source _; do
        case $mode in
        link) ;;
        man | completions) [ -x "$printer" ] || missing "$printer" ;;
        *) [ -f "$source" ] || missing "$source" ;;
        esac
    done <<<"$all"
fi

while read -r mode source place; do
    target=${DESTDIR:-}$place
    case $action:$mode in
    install:link)
        mkdir -p "${target%/*}"
        ln -sfn "$source" "$target"
        ;;
    install:pc)
        mkdir -p "${target%/*}"
        sed -e "s|@prefix@|$prefix|" -e "s|@libdir@|$libdir|" -e "s|@includedir@|$includedir|" \
            -e "s|@version@|$version|" "$source" >"$target.new"
        chmod 644 "$target.new"
        mv "$target.new" "$target"
        ;;
    install:man | install:completions)
        mkdir -p "${target%/*}"
        "$printer" "$mode" "$source" >"$target.new"
        chmod 644 "$target.new"
        mv "$target.new" "$target"
        ;;
    install:*)
        # A new file and a rename: programs that have the old one mapped keep it.
        mkdir -p "${target%/*}"
        install -m "$mode" "$source" "$target.new"
        mv "$target.new" "$target"
        ;;
    uninstall:*)
        rm -f "$target"
        # Folders of ours that are empty now; shared ones stay.
        folder=${target%/*}
        while [[ $folder = */ssmoesr || $folder = */ssmoesr/* ]]; do
            rmdir "$folder" 2>/dev/null || break
            folder=${folder%/*}
        done
        ;;
    *) echo "install: unknown action $action" >&2; exit 2 ;;
    esac
done <<<"$all"
