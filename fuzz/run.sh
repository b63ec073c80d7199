#!/usr/bin/env bash
# Fuzzes the decoders: bash fuzz/run.sh SECONDS [TARGET...]; without names, every target for that long each.
# What is found lies in fuzz/artifacts/TARGET, with its name in the output; the exit status is 1 then.
#
# JOBS=2 runs two targets at a time. SANITIZER=none leaves AddressSanitizer out (only C code and unsafe blocks need it).
set -euo pipefail
cd "$(dirname "$0")/.."

seconds="${1:?usage: bash fuzz/run.sh SECONDS [TARGET...]}"
shift
# the sanitizer and coverage flags are unstable; this lets the stable compiler take them
export RUSTC_BOOTSTRAP=1
# one thread: runs repeat, and inputs are too small for more
export RAYON_NUM_THREADS=1
# GCC marks constant tables inside functions (zstd has one) as out of scope, which the runtime of the sanitizer reports
export CFLAGS="${CFLAGS:-} -fno-sanitize-address-use-after-scope"
sanitizer="${SANITIZER:-address}"

if ! cargo fuzz --version >/dev/null 2>&1; then
    cargo install --quiet --locked --debug cargo-fuzz
fi
if [ $# -eq 0 ]; then
    mapfile -t targets < <(cd fuzz/targets && ls -- *.rs | sed 's/\.rs$//')
else
    targets=("$@")
fi

cargo fuzz build --fuzz-dir fuzz --sanitizer "$sanitizer"
host="$(rustc -vV | sed -n 's/^host: //p')"
binaries="${CARGO_TARGET_DIR:-fuzz/target}/$host/release"
# built with the targets, which is quicker than `cargo run --manifest-path fuzz/Cargo.toml --bin seeds`
"$binaries/seeds" >/dev/null

fuzz() {
    local target="$1" folder="fuzz/artifacts/$1"
    local most=4096
    [[ "$target" != sog* ]] || most=32768
    mkdir -p "$folder"
    # freed memory is given back soon, so that the limit measures what the decoder holds
    ASAN_OPTIONS="quarantine_size_mb=16:${ASAN_OPTIONS:-}" \
        "$binaries/$target" -max_total_time="$seconds" -rss_limit_mb=1024 -timeout=10 -max_len="$most" -len_control=20 \
        -artifact_prefix="$folder/" -print_final_stats=1 "fuzz/corpus/$target" >"$folder/log" 2>&1
}

failed=()
pending=()
finish() {
    local target="${pending[0]%%:*}" pid="${pending[0]##*:}"
    pending=("${pending[@]:1}")
    if wait "$pid"; then
        awk -v target="$target" '/number_of_executed_units/ { n = $2 } /average_exec_per_sec/ { s = $2 }
            / cov: / { cov = $0; sub(/.* cov: /, "", cov); sub(/ .*/, "", cov) }
            END { printf "%-16s ok: %d inputs, %d a second, %d edges\n", target, n, s, cov }' "fuzz/artifacts/$target/log"
    else
        failed+=("$target")
        printf '%-16s FAILED\n' "$target"
        tail -n 25 "fuzz/artifacts/$target/log"
    fi
}
for target in "${targets[@]}"; do
    fuzz "$target" &
    pending+=("$target:$!")
    [ ${#pending[@]} -lt "${JOBS:-1}" ] || finish
done
while [ ${#pending[@]} -gt 0 ]; do finish; done

echo "$((${#targets[@]} - ${#failed[@]})) passed, ${#failed[@]} failed"
[ ${#failed[@]} -eq 0 ]
