# SPDX-License-Identifier: GPL-2.0-or-later
# Another suite of the machine's own mirror, through a private apt state, so
# that the machine's apt configuration and package lists are never changed.
# Sourced after lib.sh.

# mirror_entries: the machine's own sources of Debian's main archive, one
# "URI<TAB>file:line" a line.  A suite with a dash (bookworm-security,
# bookworm-updates) lives elsewhere or is only a part, so it is left out.
mirror_entries() {
    apt-get -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
        indextargets --no-release-info \
        --format '$(REPO_URI)	$(RELEASE)	$(COMPONENT)	$(SOURCESENTRY)' \
        'Created-By: Packages' 2>/dev/null |
    awk -F '\t' '$2 !~ /-/ && $3 == "main" && !seen[$1]++ { print $1 "\t" $4 }'
}

# source_options FILE:LINE: what the machine's entry says of keys and trust, as
# deb822 fields (sources.list(5)).
source_options() {
    local file=${1%:*} line=${1##*:}
    case $file in
    *.sources)
        # apt counts stanzas here, where sources.list entries count lines
        awk -v want="$line" 'BEGIN { RS = ""; FS = "\n" }
        tolower("\n" $0) ~ /\ntypes:/ && ++stanza == want {
            for (i = 1; i <= NF; i++) {
                if ($i ~ /^[^ \t#]/) {
                    keep = tolower($i) ~ /^(signed-by|trusted):/
                }
                if (keep && $i !~ /^#/) {
                    print $i
                }
            }
        }' "$file"
        ;;
    *)
        sed -n "${line}p" "$file" | grep -o '\[[^]]*\]' | tr -d '[]' | tr ' ' '\n' |
        sed -n 's/^signed-by=/Signed-By: /p; s/^trusted=/Trusted: /p' || true
        ;;
    esac
}

# apt_open DIR TYPE SUITE PACKAGE: sets the array apt_opts, with which apt-get and
# apt-cache see SUITE (and nothing else) of the machine's mirror; DIR takes the
# state.  Fails when no mirror of the machine has PACKAGE in that suite: an entry
# may be another vendor's, who names suites as Debian does.
apt_open() {
    local dir=$1 type=$2 suite=$3 package=$4 uri entry show=showsrc
    [ "$type" = deb-src ] || show=show
    mkdir -p "$dir"/lists/partial "$dir"/cache/archives/partial "$dir"/parts
    apt_opts=(
        -o "Dir::State::Lists=$dir/lists"
        -o "Dir::Cache=$dir/cache"
        -o Dir::Etc::SourceList=/dev/null
        -o "Dir::Etc::SourceParts=$dir/parts"
        -o Dir::Etc::Preferences=/dev/null
        -o Dir::Etc::PreferencesParts=/dev/null
        -o APT::Sandbox::User=root
        -o APT::Update::Error-Mode=any
    )
    while IFS=$'\t' read -r uri entry; do
        {
            printf 'Types: %s\nURIs: %s\nSuites: %s\nComponents: main\n' \
                "$type" "$uri" "$suite"
            source_options "$entry"
        } > "$dir/parts/mirror.sources"
        if apt-get "${apt_opts[@]}" -qq update >"$dir/log" 2>&1 &&
           [ -n "$(apt-cache "${apt_opts[@]}" "$show" "$package" 2>>"$dir/log")" ]; then
            return 0
        fi
    done < <(mirror_entries)
    return 1
}
