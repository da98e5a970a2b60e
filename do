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
book) takes mdbook && mdbook build ;;
deny) takes cargo-deny && cargo deny --locked check ;;
semver) takes cargo-semver-checks && cargo semver-checks --default-features ;;
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
