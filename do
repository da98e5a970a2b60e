#!/usr/bin/env bash
# One door to the commands of this project: ./do COMMAND [ARGUMENT...]
#
#   build        build the static programs
#   check        check formatting and lints
#   test         set up and run the tests (tests/run; its arguments)
#   demo         show a loss and its repair in a virtual machine (tests/demo)
#   fuzz         run fuzz targets (fuzz/run; its arguments)
#   miri         run the parsers' tests under Miri (tests/miri)
#   bench        measure, on a quiet machine (benches/run; its arguments)
#   ci           run what must pass before a change lands (.ci/run)
#   man          write man pages and completions into a directory
#   pages        write the parts of docs/ that are made from other files
#   book         render docs/ as a book into target/book (takes mdbook)
#   deny         check licences, advisories and sources of dependencies (takes cargo-deny)
#   semver       compare the public API with the last release (takes cargo-semver-checks)
#   order        write which functions of the agent an import runs, for the linker (takes valgrind)
#   sbom         print what the programs are built from, as CycloneDX
#   reproduce    build the static programs twice, and compare them
#   release      run the checks of docs/release.md
set -euo pipefail
cd "$(dirname "$0")"

target=$(uname -m)-unknown-linux-musl

takes() {
    command -v "$1" >/dev/null || { echo "./do: $1 is not installed: cargo install --locked $1" >&2; exit 1; }
}

static() {
    cargo build --quiet --locked --release --target "$target" --bins "$@"
}

# mdBook renders the pages of one directory, and pages of docs/ link to files outside of it. So mdBook gets a copy of
# docs/ and of these files.
book() {
    local source=target/book-source page
    rm -rf target/book "$source"
    mkdir -p "$source"
    cp --parents -r ./*.md docs integration nixos-module examples man benches/results "$source"
    rm "$source/docs/SUMMARY.md"
    sed 's,^src = .*,src = ".",; s,^build-dir = .*,build-dir = "../book",' book.toml >"$source/book.toml"
    {
        # mdBook also writes the first page of this list as index.html, at the top of the book.
        printf '[README](README.md)\n'
        sed 's,](,](docs/,' docs/SUMMARY.md
        printf '\n# Outside of docs/\n\n'
        for page in [!R]*.md integration/*/README.md nixos-module/README.md; do
            printf -- '- [%s](%s)\n' "$(sed -n '/^# /{s///p;q}' "$page")" "$page"
        done
    } >"$source/SUMMARY.md"
    mdbook build "$source"
    python3 tools/links.py target/book
}

command=${1-}
shift || true
case $command in
build) static && echo "target/$target/release/smbios-creds{,-host}" ;;
check) cargo fmt --all --check && cargo clippy --locked --workspace --all-targets -- -D warnings ;;
test) exec ./tests/run "$@" ;;
demo) exec ./tests/demo ;;
fuzz) exec ./fuzz/run "$@" ;;
miri) exec ./tests/miri "$@" ;;
bench) exec ./benches/run "$@" ;;
ci) exec ./.ci/run ;;
man) cargo run --quiet --locked --package smbios-creds-docs -- "${1:?name a directory}" ;;
pages) cargo build --quiet --locked && cargo run --quiet --locked --package smbios-creds-docs -- --pages ;;
book) takes mdbook && book ;;
deny) takes cargo-deny && cargo deny --locked check ;;
semver)
    takes cargo-semver-checks
    # The last release is the highest tag in this branch. A registry may have a higher version.
    last=$(git tag --merged HEAD --list 'v[0-9]*' --sort=version:refname | tail -n 1)
    if [ -n "$last" ]; then
        cargo semver-checks --default-features --baseline-rev "$last"
    else
        echo "./do: no tag of a release (such as v0.2.0) in this branch: there is no API to compare with" >&2
    fi
    ;;
order) exec python3 tools/order.py ;;
sbom) cargo metadata --locked --format-version 1 --filter-platform "$target" | python3 tools/sbom.py Cargo.lock ;;
reproduce)
    for build in 1 2; do
        static --target-dir "target/reproduce/$build"
    done
    for program in smbios-creds smbios-creds-host; do
        cmp "target/reproduce/1/$target/release/$program" "target/reproduce/2/$target/release/$program"
    done
    (cd "target/reproduce/1/$target/release" && sha256sum smbios-creds smbios-creds-host)
    ;;
release)
    ./do ci
    ./do deny
    ./do semver
    ./do reproduce
    ./do sbom >target/smbios-creds.cdx.json
    cargo publish --locked --dry-run
    ;;
*)
    sed -n '2,/^set /s/^# \{0,1\}//p' "$0" >&2
    [ -z "$command" ] || exit 2
    ;;
esac
