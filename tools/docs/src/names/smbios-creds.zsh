# The names that arrived. Only root can read them; other users get none.
_smbios-creds_names() {
    local -aU names
    local line
    for line in "${(@f)$(command smbios-creds --log-level=off list --json=pretty 2>/dev/null)}"; do
        [[ $line == *'"name": "'* ]] || continue
        line=${line#*\"name\": \"}
        line=${line%\",}
        line=${line//\\\"/\"}
        line=${line//\\\\/\\}
        # A name that starts with '-' would be taken for an option.
        [[ $line == -* ]] || names+=("$line")
    done
    compadd "$@" -a names
}
