{{- define "waypost.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "waypost.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- $name := include "waypost.name" . }}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* Labels that select pods; they can never change. Takes root and component. */}}
{{- define "waypost.selector" -}}
app.kubernetes.io/name: {{ include "waypost.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* part-of and component are also what the operator finds the pods by that mount the registry. */}}
{{- define "waypost.labels" -}}
{{ include "waypost.selector" . }}
app.kubernetes.io/part-of: waypost
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "waypost.image" -}}
{{- $image := .Values.image }}
{{- if $image.registry }}{{ $image.registry }}/{{ end }}{{ $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "waypost.webhookUrl" -}}
http://{{ include "waypost.fullname" . }}-webhook.{{ .Release.Namespace }}.svc:8080
{{- end }}

{{- define "waypost.publicUrl" -}}
{{- .Values.publicUrl | default (include "waypost.webhookUrl" .) | trimSuffix "/" }}
{{- end }}

{{/* The host that deliveries come in for. */}}
{{- define "waypost.host" -}}
{{- (regexSplit ":" (urlParse .Values.publicUrl).host -1) | first }}
{{- end }}

{{- define "waypost.certificateSecret" -}}
{{- .Values.certificate.secretName | default (printf "%s-tls" (include "waypost.fullname" .)) }}
{{- end }}

{{/* Annotations for Gateway and Ingress, from which cert-manager makes the certificate. */}}
{{- define "waypost.certificateAnnotations" -}}
{{- if .Values.certificate.issuer }}
{{- $kind := ternary "issuer" "cluster-issuer" (eq .Values.certificate.issuerKind "Issuer") }}
{{- dict (printf "cert-manager.io/%s" $kind) .Values.certificate.issuer "cert-manager.io/private-key-rotation-policy" "Always" | toYaml }}
{{- end }}
{{- end }}
