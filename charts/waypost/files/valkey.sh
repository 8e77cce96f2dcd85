# The configuration is read from standard input: on the command line the list of processes would show the password.
server=$(command -v valkey-server || command -v redis-server)
exec "$server" - <<CONFIGURATION
port ${PORT:-6379}
bind ${LISTEN:-* -::*}
dir ${DATA:-/data}
requirepass $PASSWORD
appendonly yes
appendfsync $APPENDFSYNC
save 300 100
maxmemory-policy noeviction
CONFIGURATION
