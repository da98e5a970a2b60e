#!/bin/busybox sh
# Imports credentials like dmidecode.sh, on systems with busybox only. It takes every line of the table that looks
# like a credential string. Usage: busybox.sh FROM INTO
umask 077
busybox mkdir -p "$2"
busybox tr '\0' '\n' <"$1/DMI" | busybox sed -n 's/^.*io\.systemd\.credential\.binary://p' |
    while IFS= read -r string; do
        printf %s "${string#*=}" | busybox base64 -d >"$2/${string%%=*}"
    done
