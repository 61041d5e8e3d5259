# SPDX-License-Identifier: GPL-2.0-or-later
# How a script in the guest talks with the test: one line a message, "MQ: word rest".

# say WORD REST...: tell the test something and go on
say() {
    echo "MQ: $*"
}

# ask WORD REST...: tell it and wait for its answer, a line, in $answer
ask() {
    say "$@"
    # shellcheck disable=SC2034 # the caller uses it
    read -r answer
}

# show NAME FILE: send a file
show() {
    say begin "$1"
    cat "$2"
    echo
    say end "$1"
}
