# Completes the name of a credential. Names come from outside, so each name is quoted. bash expands no name, and takes
# no name for an option.
@PREFIX@_names() {
    local name quoted typed="$1"
    local -A seen=()
    COMPREPLY=()
    # If there is no name, bash must not complete the names of files.
    compopt +o default +o bashdefault 2>/dev/null
    while IFS= read -r name; do
        [[ -n "${name}" && "${name}" != -* && -z "${seen["x${name}"]}" ]] || continue
        seen["x${name}"]=1
        printf -v quoted %q "${name}"
        quoted="${quoted//=/\\=}"
        if [[ "${typed}" == [\"\']* ]]; then
            # After an open quote, complete only names that need no quoting.
            [[ "${quoted}" == "${name}" && "${name}" == "${typed:1}"* ]] && COMPREPLY+=("${name}")
        elif [[ "${quoted}" == "${typed}"* || "${name}" == "${typed}"* ]]; then
            COMPREPLY+=("${quoted}")
        fi
    done < <(@PREFIX@_list)
}
