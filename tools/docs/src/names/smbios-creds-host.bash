# The names of the files in $CREDENTIALS_DIRECTORY that can be names of credentials, one on each line.
_smbios__creds__host_list() (
    [[ -n "${CREDENTIALS_DIRECTORY}" ]] || return
    set +f
    shopt -s nullglob dotglob
    shopt -u failglob
    GLOBIGNORE= LC_ALL=C
    for file in "${CREDENTIALS_DIRECTORY}"/*; do
        name="${file##*/}"
        [[ "${name}" != *[![:print:]]* && "${name}" != *[:=]* && -f "${file}" ]] && printf '%s\n' "${name}"
    done
)
