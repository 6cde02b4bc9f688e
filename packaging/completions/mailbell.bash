# bash completion for mailbell: /usr/share/bash-completion/completions/mailbell
# shellcheck shell=bash disable=SC2207

_mailbell() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local command=${COMP_WORDS[1]-} formats="inotify path tsv json" words=
    COMPREPLY=()

    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W "serve check user watch cat deliver fetch replay queue test status sendmail -h --help -V --version" -- "$current"))
        return
    fi
    case $previous in
    -c | --config | -C)
        COMPREPLY=($(compgen -f -- "$current"))
        return
        ;;
    --attachments)
        COMPREPLY=($(compgen -d -- "$current"))
        return
        ;;
    --format)
        COMPREPLY=($(compgen -W "$formats" -- "$current"))
        return
        ;;
    --from)
        [ "$command" = watch ] || return
        COMPREPLY=($(compgen -W "now all" -- "$current"))
        return
        ;;
    --match)
        compopt -o nospace
        COMPREPLY=($(compgen -S = -W "from to cc subject rcpt_to mail_from via client auth message_id content_type list_id auto_submitted verified key" -- "$current"))
        return
        ;;
    --user)
        COMPREPLY=($(compgen -W "$(mailbell user list 2>/dev/null)" -- "$current"))
        return
        ;;
    --cursor | --count | -f | -r | -F) return ;;
    esac
    case $command in
    serve) words="-c --config -h --help" ;;
    check) words="-c --config --online --address -h --help" ;;
    user)
        case ${COMP_WORDS[2]} in
        add) words="-c --config --stdin -h --help" ;;
        passwd) words="-c --config --stdin -h --help $(mailbell user list 2>/dev/null)" ;;
        del) words="-c --config -h --help $(mailbell user list 2>/dev/null)" ;;
        list) words="-c --config -h --help" ;;
        *) words="add passwd del list -h --help" ;;
        esac
        ;;
    watch)
        local word
        for word in "${COMP_WORDS[@]:2:COMP_CWORD-2}"; do
            if [ "$word" = -- ]; then
                COMPREPLY=($(compgen -c -- "$current"))
                return
            fi
        done
        words="-c --config --from --cursor --user --follow-user --match --format --text --count -- -h --help"
        ;;
    cat) words="-c --config --text --html --json --attachments -h --help" ;;
    queue) words="list retry drop -c --config -h --help" ;;
    fetch) words="-c --config --once -h --help" ;;
    replay) words="-c --config --given-up --pause --resume -h --help" ;;
    deliver) words="-c --config -f --from -h --help $(mailbell user list 2>/dev/null)" ;;
    sendmail) words="-C -t -i -oi -f -r -F -N -R -V -bm -bs -bp -bi --help $(mailbell user list 2>/dev/null)" ;;
    test) words="-c --config --deliver --remote --stdin --timeout -h --help $(mailbell user list 2>/dev/null)" ;;
    status) words="-c --config --json --check --max-backlog --max-age -h --help" ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}

complete -o default -F _mailbell mailbell
