# fish completion for mailbell: /usr/share/fish/vendor_completions.d/mailbell.fish

function __mailbell_users
    mailbell user list 2>/dev/null
end

complete -c mailbell -f
complete -c mailbell -n __fish_use_subcommand -a serve -d 'Run the server in the foreground'
complete -c mailbell -n __fish_use_subcommand -a check -d 'Read the configuration and say all that is wrong'
complete -c mailbell -n __fish_use_subcommand -a user -d 'Add, change, remove and list accounts'
complete -c mailbell -n __fish_use_subcommand -a watch -d 'Print or handle each event'
complete -c mailbell -n __fish_use_subcommand -a cat -d 'Print a stored message'
complete -c mailbell -n __fish_use_subcommand -a deliver -d 'Store the message on standard input'
complete -c mailbell -n __fish_use_subcommand -a fetch -d 'Look at a remote mailbox now'
complete -c mailbell -n __fish_use_subcommand -a replay -d 'Hand events over again'
complete -c mailbell -n __fish_use_subcommand -a queue -d 'List, retry or drop messages that wait to be sent'
complete -c mailbell -n __fish_use_subcommand -a test -d 'Send a message to yourself and show what became of it'
complete -c mailbell -n __fish_use_subcommand -a status -d 'Show sessions, messages and subscribers'
complete -c mailbell -n __fish_use_subcommand -a sendmail -d 'Deliver, with the options of sendmail'
complete -c mailbell -n __fish_use_subcommand -s V -l version -d 'Print the version'
complete -c mailbell -s h -l help -d 'Print what the command takes'
complete -c mailbell -n 'not __fish_use_subcommand; and not __fish_seen_subcommand_from sendmail' -s c -l config -r -F -d 'Configuration file'

complete -c mailbell -n '__fish_seen_subcommand_from replay' -l given-up -d 'What was given up'
complete -c mailbell -n '__fish_seen_subcommand_from replay' -l pause -d 'Begin no more tries'
complete -c mailbell -n '__fish_seen_subcommand_from replay' -l resume -d 'Go on'
complete -c mailbell -n '__fish_seen_subcommand_from check' -l address -x -d 'Say where mail for an address goes'
complete -c mailbell -n '__fish_seen_subcommand_from check' -l online -d 'Also try ports, rights, disk and DNS'

set -l actions add passwd del list
complete -c mailbell -n "__fish_seen_subcommand_from user; and not __fish_seen_subcommand_from $actions" -a "$actions"
complete -c mailbell -n '__fish_seen_subcommand_from user; and __fish_seen_subcommand_from add passwd' -l stdin -d 'Read the password from standard input'
complete -c mailbell -n '__fish_seen_subcommand_from user; and __fish_seen_subcommand_from passwd del' -a '(__mailbell_users)'

complete -c mailbell -n '__fish_seen_subcommand_from watch' -l from -x -a 'now all' -d 'Where to begin'
complete -c mailbell -n '__fish_seen_subcommand_from watch' -l cursor -x -d 'Remember how far it came'
complete -c mailbell -n '__fish_seen_subcommand_from watch' -l user -x -a '(__mailbell_users)' -d 'Only this account'
complete -c mailbell -n '__fish_seen_subcommand_from watch' -l follow-user -d 'Only your own mail'
complete -c mailbell -n '__fish_seen_subcommand_from watch' -l match -x -a 'from= to= cc= subject= rcpt_to= mail_from= via= client= auth= message_id= content_type= list_id= auto_submitted= verified= key=' -d 'Only where a field matches'
complete -c mailbell -n '__fish_seen_subcommand_from watch' -l format -x -a 'inotify path tsv json' -d 'How a line looks'
complete -c mailbell -n '__fish_seen_subcommand_from watch' -l text -d 'For people, with the first lines of each message'
complete -c mailbell -n '__fish_seen_subcommand_from watch' -l count -x -d 'End after so many events'

complete -c mailbell -n '__fish_seen_subcommand_from cat' -l text -d 'Only its text'
complete -c mailbell -n '__fish_seen_subcommand_from cat' -l html -d 'Only its HTML text'
complete -c mailbell -n '__fish_seen_subcommand_from cat' -l json -d 'Event, texts, attachments and header fields'
complete -c mailbell -n '__fish_seen_subcommand_from cat' -l attachments -r -F -d 'Save its attachments in this folder'

complete -c mailbell -n '__fish_seen_subcommand_from deliver' -s f -l from -x -d 'Envelope sender'
complete -c mailbell -n '__fish_seen_subcommand_from sendmail' -s f -x -d 'Envelope sender'
complete -c mailbell -n '__fish_seen_subcommand_from sendmail' -s r -x -d 'Envelope sender'
complete -c mailbell -n '__fish_seen_subcommand_from sendmail' -s F -x -d 'Full name'
complete -c mailbell -n '__fish_seen_subcommand_from sendmail' -s N -x -a 'never success failure delay' -d 'Notices wanted'
complete -c mailbell -n '__fish_seen_subcommand_from sendmail' -s R -x -a 'full hdrs' -d 'What a notice repeats'
complete -c mailbell -n '__fish_seen_subcommand_from sendmail' -s V -x -d 'An id that notices repeat'
complete -c mailbell -n '__fish_seen_subcommand_from sendmail' -s C -r -F -d 'Configuration file'
complete -c mailbell -n '__fish_seen_subcommand_from sendmail' -s t -d 'Recipients from the message'
complete -c mailbell -n '__fish_seen_subcommand_from sendmail' -s i -o oi -d 'A lone dot ends nothing'
complete -c mailbell -n '__fish_seen_subcommand_from sendmail' -o bs -d 'Speak SMTP'
complete -c mailbell -n '__fish_seen_subcommand_from sendmail' -o bp -d 'Print the queue'
complete -c mailbell -n '__fish_seen_subcommand_from sendmail' -o bi -d 'Check the aliases'
complete -c mailbell -n '__fish_seen_subcommand_from sendmail' -o bm -d 'Read a message'
complete -c mailbell -n '__fish_seen_subcommand_from deliver sendmail' -a '(__mailbell_users)'

complete -c mailbell -n '__fish_seen_subcommand_from fetch' -l once -d 'Look once'
complete -c mailbell -n '__fish_seen_subcommand_from queue; and not __fish_seen_subcommand_from list retry drop' -a 'list retry drop'
complete -c mailbell -n '__fish_seen_subcommand_from test' -l deliver -d 'Hand it over by deliver'
complete -c mailbell -n '__fish_seen_subcommand_from test' -l remote -x -d 'Look at this remote'
complete -c mailbell -n '__fish_seen_subcommand_from test' -l stdin -d 'Fetch it by POP3 with the password on standard input'
complete -c mailbell -n '__fish_seen_subcommand_from test' -l timeout -x -d 'Seconds for each step'
complete -c mailbell -n '__fish_seen_subcommand_from status' -l json -d 'For programs'
complete -c mailbell -n '__fish_seen_subcommand_from status' -l check -d 'One line for Nagios'
complete -c mailbell -n '__fish_seen_subcommand_from status' -l max-backlog -x -d 'Events that may wait'
complete -c mailbell -n '__fish_seen_subcommand_from status' -l max-age -x -d 'How long one may wait'
