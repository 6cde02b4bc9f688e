#!/bin/sh
# A CGI program: prints the event of a POST on standard error, and acknowledges it with status 200.
echo "webhook: $(head -c "$CONTENT_LENGTH" | jq -c '{seq, user, subject}')" >&2
printf 'Content-Type: text/plain\r\n\r\nok\n'
