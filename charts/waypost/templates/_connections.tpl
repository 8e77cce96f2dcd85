{{/* Returns as JSON which Secret and key hold the address of "database" or "redis". Takes root, server. */}}
{{- define "waypost.connection" -}}
{{- $given := get .root.Values .server }}
{{- if $given.embedded.enabled }}
{{- if $given.embedded.existingSecret }}
{{- dict "name" $given.embedded.existingSecret "key" "url" | toJson }}
{{- else }}
{{- dict "name" (include "waypost.connectionsSecret" .root) "key" (printf "%s-url" .server) | toJson }}
{{- end }}
{{- else if $given.existingSecret.name }}
{{- $given.existingSecret | toJson }}
{{- else }}
{{- dict "name" (include "waypost.connectionsSecret" .root) "key" (printf "%s-url" .server) | toJson }}
{{- end }}
{{- end }}

{{/* Returns as JSON which Secret and key hold the password of an embedded server. Takes root, server. */}}
{{- define "waypost.embeddedPassword" -}}
{{- $given := get .root.Values .server }}
{{- if $given.embedded.existingSecret }}
{{- dict "name" $given.embedded.existingSecret "key" "password" | toJson }}
{{- else }}
{{- dict "name" (include "waypost.connectionsSecret" .root) "key" (printf "%s-password" .server) | toJson }}
{{- end }}
{{- end }}

{{/* Returns the name of the Secret that holds everything that was given inline. */}}
{{- define "waypost.connectionsSecret" -}}
{{ include "waypost.fullname" . }}-connections
{{- end }}

{{/* Returns the data of the Secret for everything that was given inline; empty if nothing was. */}}
{{- define "waypost.connectionsData" -}}
{{- $fullname := include "waypost.fullname" . }}
{{- $data := dict }}
{{- with .Values.database }}
{{- if and .embedded.enabled (not .embedded.existingSecret) }}
{{- $_ := set $data "database-password" .embedded.password }}
{{- $_ := set $data "database-url" (printf "postgresql://waypost:%s@%s-postgresql:5432/waypost" .embedded.password $fullname) }}
{{- else if and .url (not .embedded.enabled) }}
{{- $_ := set $data "database-url" .url }}
{{- end }}
{{- end }}
{{- with .Values.redis }}
{{- if and .embedded.enabled (not .embedded.existingSecret) }}
{{- $_ := set $data "redis-password" .embedded.password }}
{{- $_ := set $data "redis-url" (printf "redis://:%s@%s-valkey:6379/0" .embedded.password $fullname) }}
{{- else if and .url (not .embedded.enabled) }}
{{- $_ := set $data "redis-url" .url }}
{{- end }}
{{- end }}
{{- with .Values.console.password }}
{{- $_ := set $data "console-password" . }}
{{- end }}
{{- if $data }}{{ toYaml $data }}{{ end }}
{{- end }}

{{/*
Returns as JSON which Secret and key hold the address for migrations. The connections Secret does not exist yet when the
hook of the first install runs, so the hook brings a copy of it.
*/}}
{{- define "waypost.migrationSecret" -}}
{{- $secret := include "waypost.connection" (dict "root" . "server" "database") | fromJson }}
{{- if .Values.database.migrationSecret.name }}
{{- .Values.database.migrationSecret | toJson }}
{{- else if and (not .Values.database.embedded.enabled) (eq $secret.name (include "waypost.connectionsSecret" .)) }}
{{- dict "name" (printf "%s-migrate" (include "waypost.fullname" .)) "key" "url" | toJson }}
{{- else }}
{{- $secret | toJson }}
{{- end }}
{{- end }}
