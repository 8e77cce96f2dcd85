{{- define "waypost.secretEnvironment" -}}
{{- dict "name" .name "valueFrom" (dict "secretKeyRef" (dict "name" .secret.name "key" .secret.key)) | toJson }}
{{- end }}

{{/*
The environment of one component, as a list in which each name occurs once: a name that occurs twice is an error under
server-side apply, which Helm 4 installs by. Later ones win: the chart's, extraEnv, the component's extraEnv.
Takes root, component, own (list).
*/}}
{{- define "waypost.environment" -}}
{{- $root := .root }}
{{- $values := $root.Values }}
{{- $component := .component }}
{{- $entries := list (dict "name" "WAYPOST_LOG_LEVEL" "value" $values.logLevel) }}
{{- range tuple (list "POD_NAME" "metadata.name") (list "POD_NAMESPACE" "metadata.namespace") (list "NODE_NAME" "spec.nodeName") }}
{{- $entries = append $entries (dict "name" (first .) "valueFrom" (dict "fieldRef" (dict "apiVersion" "v1" "fieldPath" (last .)))) }}
{{- end }}
{{- $entries = append $entries (dict "name" "CONTAINER_NAME" "value" $component) }}
{{- if has $component (list "webhook" "worker" "console" "migrate" "schedule") }}
{{- $secret := include "waypost.connection" (dict "root" $root "of" "database") | fromJson }}
{{- if eq $component "migrate" }}
{{- $secret = include "waypost.migrationSecret" $root | fromJson }}
{{- end }}
{{- $entries = append $entries (include "waypost.secretEnvironment" (dict "name" "WAYPOST_DATABASE_URL" "secret" $secret) | fromJson) }}
{{- if $values.database.caSecret.name }}
{{- $entries = append $entries (dict "name" "PGSSLMODE" "value" "verify-full") }}
{{- $entries = append $entries (dict "name" "PGSSLROOTCERT" "value" "/etc/waypost/tls/database/ca.crt") }}
{{- end }}
{{- end }}
{{- if has $component (list "webhook" "worker") }}
{{- $secret := include "waypost.connection" (dict "root" $root "of" "redis") | fromJson }}
{{- $entries = append $entries (include "waypost.secretEnvironment" (dict "name" "WAYPOST_REDIS_URL" "secret" $secret) | fromJson) }}
{{- end }}
{{- if has $component (list "worker" "operator" "schedule") }}
{{- $graph := $values.graph.url }}
{{- if $values.simulator.enabled }}
{{- $graph = printf "http://%s-simulator.%s.svc:8082" (include "waypost.fullname" $root) $root.Release.Namespace }}
{{- end }}
{{- $entries = append $entries (dict "name" "WAYPOST_GRAPH_URL" "value" $graph) }}
{{- $entries = append $entries (dict "name" "WAYPOST_GRAPH_VERSION" "value" $values.graph.version) }}
{{- end }}
{{- if has $component (list "worker" "operator") }}
{{- $entries = append $entries (dict "name" "WAYPOST_BOT_PLUGINS" "value" (join "," $values.bot.plugins)) }}
{{- end }}
{{- with $values.telemetry }}
{{- if .endpoint }}
{{- $entries = append $entries (dict "name" "OTEL_EXPORTER_OTLP_ENDPOINT" "value" .endpoint) }}
{{- $entries = append $entries (dict "name" "OTEL_TRACES_SAMPLER" "value" .sampler) }}
{{- $entries = append $entries (dict "name" "OTEL_TRACES_SAMPLER_ARG" "value" .samplerArgument) }}
{{- if .headersSecret.name }}
{{- $entries = append $entries (include "waypost.secretEnvironment" (dict "name" "OTEL_EXPORTER_OTLP_HEADERS" "secret" .headersSecret) | fromJson) }}
{{- end }}
{{- end }}
{{- end }}
{{- $sections := dict "migrate" "migration" }}
{{- $given := get $values (get $sections $component | default $component) | default dict }}
{{- $byName := dict }}
{{- $order := list }}
{{- range concat $entries .own $values.extraEnv ($given.extraEnv | default list) }}
{{- if not (hasKey $byName .name) }}
{{- $order = append $order .name }}
{{- end }}
{{- $_ := set $byName .name . }}
{{- end }}
{{- $merged := list }}
{{- range $order }}
{{- $merged = append $merged (get $byName .) }}
{{- end }}
{{- toYaml $merged }}
{{- end }}
