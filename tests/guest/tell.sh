# SPDX-License-Identifier: GPL-2.0-or-later
# A guest that tells what a command says: asks for a shell command, sends its output as one line.

. /mq/guest.sh
ask ready
while [ -n "$answer" ]; do
    said=$(sh -c "$answer" 2>&1 | tr '\n' ' ')
    ask said "$said"
done
