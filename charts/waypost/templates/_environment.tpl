{{/* Returns as JSON an environment variable whose value is in a Secret. Takes name, secret (name, key). */}}
{{- define "waypost.secretEnvironment" -}}
{{- dict "name" .name "valueFrom" (dict "secretKeyRef" (dict "name" .secret.name "key" .secret.key)) | toJson }}
{{- end }}

{{/*
Returns the environment of one component as a list in which each name occurs once: a name that occurs twice is an error
under server-side apply, which Helm 4 uses. Later ones win: the chart's, then extraEnv, then the component's extraEnv.
Takes root, component, own (further variables).
*/}}
{{- define "waypost.environment" -}}
{{- $root := .root }}
{{- $values := $root.Values }}
{{- $component := .component }}
{{- $variables := list (dict "name" "WAYPOST_LOG_LEVEL" "value" $values.logLevel) }}
{{- range tuple (list "POD_NAME" "metadata.name") (list "POD_NAMESPACE" "metadata.namespace") (list "NODE_NAME" "spec.nodeName") }}
{{- $variables = append $variables (dict "name" (first .) "valueFrom" (dict "fieldRef" (dict "apiVersion" "v1" "fieldPath" (last .)))) }}
{{- end }}
{{- $variables = append $variables (dict "name" "CONTAINER_NAME" "value" $component) }}
{{- if has $component (list "webhook" "worker" "console" "migrate" "schedule") }}
{{- $secret := include "waypost.connection" (dict "root" $root "server" "database") | fromJson }}
{{- if eq $component "migrate" }}
{{- $secret = include "waypost.migrationSecret" $root | fromJson }}
{{- end }}
{{- $variables = append $variables (include "waypost.secretEnvironment" (dict "name" "WAYPOST_DATABASE_URL" "secret" $secret) | fromJson) }}
{{- if $values.database.caSecret.name }}
{{- $variables = append $variables (dict "name" "PGSSLMODE" "value" "verify-full") }}
{{- $variables = append $variables (dict "name" "PGSSLROOTCERT" "value" "/etc/waypost/tls/database/ca.crt") }}
{{- end }}
{{- end }}
{{- if has $component (list "webhook" "worker") }}
{{- $secret := include "waypost.connection" (dict "root" $root "server" "redis") | fromJson }}
{{- $variables = append $variables (include "waypost.secretEnvironment" (dict "name" "WAYPOST_REDIS_URL" "secret" $secret) | fromJson) }}
{{- end }}
{{- if has $component (list "worker" "operator" "schedule") }}
{{- $graph := $values.graph.url }}
{{- if $values.simulator.enabled }}
{{- $graph = printf "http://%s-simulator.%s.svc:8082" (include "waypost.fullname" $root) $root.Release.Namespace }}
{{- end }}
{{- $variables = append $variables (dict "name" "WAYPOST_GRAPH_URL" "value" $graph) }}
{{- $variables = append $variables (dict "name" "WAYPOST_GRAPH_VERSION" "value" $values.graph.version) }}
{{- end }}
{{- if has $component (list "worker" "operator") }}
{{- $variables = append $variables (dict "name" "WAYPOST_BOT_PLUGINS" "value" (join "," $values.bot.plugins)) }}
{{- end }}
{{- with $values.telemetry }}
{{- if .endpoint }}
{{- $variables = append $variables (dict "name" "OTEL_EXPORTER_OTLP_ENDPOINT" "value" .endpoint) }}
{{- $variables = append $variables (dict "name" "OTEL_TRACES_SAMPLER" "value" .sampler) }}
{{- $variables = append $variables (dict "name" "OTEL_TRACES_SAMPLER_ARG" "value" .samplerArgument) }}
{{- if .headersSecret.name }}
{{- $variables = append $variables (include "waypost.secretEnvironment" (dict "name" "OTEL_EXPORTER_OTLP_HEADERS" "secret" .headersSecret) | fromJson) }}
{{- end }}
{{- end }}
{{- end }}
{{- $sections := dict "migrate" "migration" }}
{{- $given := get $values (get $sections $component | default $component) | default dict }}
{{- $byName := dict }}
{{- $order := list }}
{{- range concat $variables .own $values.extraEnv ($given.extraEnv | default list) }}
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
