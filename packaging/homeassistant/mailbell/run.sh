#!/bin/sh
# Makes mailbell.toml and the accounts out of the add-on's options, asks Home Assistant for its MQTT broker, and becomes the
# server. A line for each new mail goes to /data/mailbell/run/notify.
set -eu
data=/data/mailbell
options=/data/options.json
config=$data/mailbell.toml
umask 027
mkdir -p "$data/state" "$data/mail" "$data/run"

option() { jq -r "$1" "$options"; }

{
    echo '# Written by the add-on at each start, out of its options.'
    echo "hostname = $(option '.hostname | @json')"
    echo 'domains = ["*"]'
    echo "state = \"$data/state\""
    echo 'user = "mailbell"'
    echo 'group = "mailbell"'
    printf '[mail]\nroot = "%s/mail"\n' "$data"
    printf '[journal]\nkeep = %s\n' "$(option 'if .keep == "off" then "30d" else .keep end | @json')"
    printf '[users]\nfile = "%s/users"\naliases = "%s/aliases"\n' "$data" "$data"
    echo '[smtp]'
    echo 'listen = ["0.0.0.0:2525"]'
    echo '[pop3]'
    echo 'listen = ["0.0.0.0:1110"]'
    printf '[[pipe]]\npath = "%s/run/notify"\n' "$data"
} >"$config"

# The broker of Home Assistant, where there is one: a sensor for each user's last mail appears by itself.
if [ -n "${SUPERVISOR_TOKEN:-}" ] &&
    broker=$(curl -fsS -H "Authorization: Bearer $SUPERVISOR_TOKEN" http://supervisor/services/mqtt); then
    field() { printf '%s' "$broker" | jq -r ".data.$1 // empty"; }
    scheme=mqtt
    [ "$(field ssl)" != true ] || scheme=mqtts
    field password >"$data/mqtt.pw"
    {
        printf '[[mqtt]]\nname = "homeassistant"\n'
        printf 'url = "%s://%s:%s"\n' "$scheme" "$(field host)" "$(field port)"
        printf 'login = %s\npassword_file = "%s/mqtt.pw"\n' "$(printf '%s' "$broker" | jq '.data.username')" "$data"
        echo 'discovery = "homeassistant"'
    } >>"$config"
else
    echo "no MQTT broker: mail is stored and on the pipe, and no sensor appears"
fi

[ -e "$data/aliases" ] || : >"$data/aliases"
[ -e "$data/users" ] || : >"$data/users"
# The folder of the settings and the accounts is root's; the server reads it.
chown mailbell:mailbell "$data/state" "$data/mail" "$data/run"
chown root:mailbell "$data" "$config" "$data/users" "$data/aliases"
chmod 0750 "$data"
chmod 0640 "$config" "$data/users" "$data/aliases"
[ ! -e "$data/mqtt.pw" ] || { chown root:mailbell "$data/mqtt.pw" && chmod 0640 "$data/mqtt.pw"; }

export MAILBELL_CONFIG="$config"
count=$(option '.users | length')
number=0
while [ "$number" -lt "$count" ]; do
    name=$(option ".users[$number].name")
    change=add
    ! grep -q "^$name:" "$data/users" || change=passwd
    option ".users[$number].password" | mailbell user "$change" --stdin "$name" >/dev/null
    number=$((number + 1))
done

exec mailbell serve
