# The names of the files in $CREDENTIALS_DIRECTORY that can be names of credentials.
_smbios-creds-host_names() {
    local -a names
    local file name LC_ALL=C
    [[ -n $CREDENTIALS_DIRECTORY ]] || return 1
    for file in $CREDENTIALS_DIRECTORY/*(DN-.); do
        name=${file:t}
        [[ $name == *[^[:print:]]* || $name == *[:=]* || $name == -* ]] || names+=("$name")
    done
    compadd "$@" -a names
}
