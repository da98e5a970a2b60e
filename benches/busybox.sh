#!/bin/busybox sh
# The same where there is no dmidecode, with busybox alone: whatever looks like a string is one. busybox.sh FROM INTO
umask 077
busybox mkdir -p "$2"
busybox tr '\0' '\n' <"$1/DMI" | busybox sed -n 's/^.*io\.systemd\.credential\.binary://p' |
    while IFS= read -r string; do
        printf %s "${string#*=}" | busybox base64 -d >"$2/${string%%=*}"
    done
