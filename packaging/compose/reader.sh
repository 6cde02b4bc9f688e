#!/bin/sh
# Prints the subject of each new message. After a restart of the server the outer loop opens the pipe again.
while true; do
    while read -r dir _ file; do
        echo "new mail: $(grep -i -m 1 '^Subject: ' "$dir$file")"
    done </run/mail/notify
    sleep 1
done
