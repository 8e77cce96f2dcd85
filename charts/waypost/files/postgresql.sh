# Works in the official image and in one with a distribution's packages, whose binaries are not on PATH.
for folder in /usr/lib/postgresql/*/bin; do PATH="$PATH:$folder"; done
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  # Renamed when whole: a start that is cut short must not leave half a folder, which initdb would refuse for ever.
  rm -rf "$PGDATA.draft"
  password="${TMPDIR:-/tmp}/password"
  printf '%s\n' "$PASSWORD" > "$password"
  initdb --pgdata "$PGDATA.draft" --username waypost --pwfile "$password" --encoding UTF8 --locale C \
    --auth-local trust --auth-host scram-sha-256 --no-instructions
  rm "$password"
  echo 'host all all all scram-sha-256' >> "$PGDATA.draft/pg_hba.conf"
  echo 'CREATE DATABASE waypost' | postgres --single -D "$PGDATA.draft" postgres
  mv "$PGDATA.draft" "$PGDATA"
fi
# Each new pod gets the volume with its files opened to their group (fsGroup), which PostgreSQL refuses.
chmod 0700 "$PGDATA"
unset PASSWORD
# A statement may carry what a person wrote, so none is logged.
exec postgres -c listen_addresses="${LISTEN:-*}" -c unix_socket_directories="${TMPDIR:-/tmp}" \
  -c log_min_messages=warning -c log_min_error_statement=panic
