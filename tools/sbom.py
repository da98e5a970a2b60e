#!/usr/bin/env python3
"""Prints what the programs are built from, as CycloneDX 1.5: `cargo metadata … | tools/sbom.py Cargo.lock`.

The output does not contain crates that only tests, examples or documentation use."""
import json
import pathlib
import sys
import tomllib


def main():
    metadata = json.load(sys.stdin)
    lock = tomllib.loads(pathlib.Path(sys.argv[1]).read_text())
    checksums = {(package["name"], package["version"]): package.get("checksum") for package in lock["package"]}
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = next(package["id"] for package in metadata["packages"] if package["name"] == "smbios-creds")

    def dependencies(package):
        return [dependency["pkg"] for dependency in nodes[package]["deps"]
                if any(kind["kind"] != "dev" for kind in dependency["dep_kinds"])]

    found, left = set(), [root]
    while left:
        package = left.pop()
        if package not in found:
            found.add(package)
            left += dependencies(package)

    def purl(package):
        return f"pkg:cargo/{packages[package]['name']}@{packages[package]['version']}"

    def component(package):
        described = packages[package]
        entry = {"type": "application" if package == root else "library", "bom-ref": purl(package),
                 "name": described["name"], "version": described["version"], "purl": purl(package)}
        if described["license"]:
            entry["licenses"] = [{"expression": described["license"].replace("/", " OR ")}]
        checksum = checksums[described["name"], described["version"]]
        if checksum:
            entry["hashes"] = [{"alg": "SHA-256", "content": checksum}]
        return entry

    others = sorted(found - {root}, key=purl)
    json.dump({
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": {"component": component(root)},
        "components": [component(package) for package in others],
        "dependencies": [{"ref": purl(package), "dependsOn": sorted(purl(other) for other in dependencies(package))}
                         for package in [root, *others]],
    }, sys.stdout, indent=1)
    print()


main()
