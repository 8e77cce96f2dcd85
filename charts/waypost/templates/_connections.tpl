{{/* Which Secret and key hold an address: of "database" or "redis". Takes root, of; yields JSON. */}}
{{- define "waypost.connection" -}}
{{- $given := get .root.Values .of }}
{{- if $given.embedded.enabled }}
{{- if $given.embedded.existingSecret }}
{{- dict "name" $given.embedded.existingSecret "key" "url" | toJson }}
{{- else }}
{{- dict "name" (include "waypost.connectionsSecret" .root) "key" (printf "%s-url" .of) | toJson }}
{{- end }}
{{- else if $given.existingSecret.name }}
{{- $given.existingSecret | toJson }}
{{- else }}
{{- dict "name" (include "waypost.connectionsSecret" .root) "key" (printf "%s-url" .of) | toJson }}
{{- end }}
{{- end }}

{{/* The same for an embedded server's password. */}}
{{- define "waypost.embeddedPassword" -}}
{{- $given := get .root.Values .of }}
{{- if $given.embedded.existingSecret }}
{{- dict "name" $given.embedded.existingSecret "key" "password" | toJson }}
{{- else }}
{{- dict "name" (include "waypost.connectionsSecret" .root) "key" (printf "%s-password" .of) | toJson }}
{{- end }}
{{- end }}

{{- define "waypost.connectionsSecret" -}}
{{ include "waypost.fullname" . }}-connections
{{- end }}

{{/* What was given inline, as the data of a Secret; empty when nothing was. */}}
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

{{/* The connections Secret is no part of the release yet when its first migration runs: then a copy of it is used. */}}
{{- define "waypost.migrationSecret" -}}
{{- $secret := include "waypost.connection" (dict "root" . "of" "database") | fromJson }}
{{- if .Values.database.migrationSecret.name }}
{{- .Values.database.migrationSecret | toJson }}
{{- else if and (not .Values.database.embedded.enabled) (eq $secret.name (include "waypost.connectionsSecret" .)) }}
{{- dict "name" (printf "%s-migrate" (include "waypost.fullname" .)) "key" "url" | toJson }}
{{- else }}
{{- $secret | toJson }}
{{- end }}
{{- end }}
