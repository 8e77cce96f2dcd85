# The configuration comes by standard input: on the command line the password could be seen in the list of processes.
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
