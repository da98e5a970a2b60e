# Completes a name. Names come from outside: each is quoted, and none is expanded or taken for an option.
@PREFIX@_names() {
    local name quoted typed="$1"
    local -A seen=()
    COMPREPLY=()
    # No files instead, if there is no name.
    compopt +o default +o bashdefault 2>/dev/null
    while IFS= read -r name; do
        [[ -n "${name}" && "${name}" != -* && -z "${seen["x${name}"]}" ]] || continue
        seen["x${name}"]=1
        printf -v quoted %q "${name}"
        quoted="${quoted//=/\\=}"
        if [[ "${typed}" == [\"\']* ]]; then
            # In quotes that are still open, only a name that needs none is the same.
            [[ "${quoted}" == "${name}" && "${name}" == "${typed:1}"* ]] && COMPREPLY+=("${name}")
        elif [[ "${quoted}" == "${typed}"* || "${name}" == "${typed}"* ]]; then
            COMPREPLY+=("${quoted}")
        fi
    done < <(@PREFIX@_list)
}
