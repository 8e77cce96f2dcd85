# The official image has the binaries on PATH; images with a distribution's packages have them only here.
for folder in /usr/lib/postgresql/*/bin; do PATH="$PATH:$folder"; done
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  # The folder is renamed when it is complete. If a start is interrupted, initdb would refuse half a folder for ever.
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
# For each new pod, Kubernetes opens the volume's files to their group (fsGroup). PostgreSQL refuses such a folder.
chmod 0700 "$PGDATA"
unset PASSWORD
# A statement can contain what a person wrote, so no statement is logged.
exec postgres -c listen_addresses="${LISTEN:-*}" -c unix_socket_directories="${TMPDIR:-/tmp}" \
  -c log_min_messages=warning -c log_min_error_statement=panic
