{{/* Returns the chart's name, or nameOverride. */}}
{{- define "waypost.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* Returns the prefix of all object names. */}}
{{- define "waypost.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- $name := include "waypost.name" . }}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* Returns the labels that select pods; Kubernetes allows no change of them. Takes root and component. */}}
{{- define "waypost.selector" -}}
app.kubernetes.io/name: {{ include "waypost.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Returns all labels. By part-of and component, the operator finds the pods that mount the registry. */}}
{{- define "waypost.labels" -}}
{{ include "waypost.selector" . }}
app.kubernetes.io/part-of: waypost
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Returns the image of Waypost, with its digest or else its tag. */}}
{{- define "waypost.image" -}}
{{- $image := .Values.image }}
{{- if $image.registry }}{{ $image.registry }}/{{ end }}{{ $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{/* Returns the address of the webhook's Service, inside the cluster. */}}
{{- define "waypost.webhookUrl" -}}
http://{{ include "waypost.fullname" . }}-webhook.{{ .Release.Namespace }}.svc:8080
{{- end }}

{{/* Returns publicUrl; without one (with the simulator) the address of the webhook's Service. */}}
{{- define "waypost.publicUrl" -}}
{{- .Values.publicUrl | default (include "waypost.webhookUrl" .) | trimSuffix "/" }}
{{- end }}

{{/* Returns the host of publicUrl. */}}
{{- define "waypost.host" -}}
{{- (regexSplit ":" (urlParse .Values.publicUrl).host -1) | first }}
{{- end }}

{{/* Returns the name of the Secret with the TLS certificate of Gateway and Ingress. */}}
{{- define "waypost.certificateSecret" -}}
{{- .Values.certificate.secretName | default (printf "%s-tls" (include "waypost.fullname" .)) }}
{{- end }}

{{/* Returns the annotations of Gateway and Ingress from which cert-manager makes the certificate. */}}
{{- define "waypost.certificateAnnotations" -}}
{{- if .Values.certificate.issuer }}
{{- $kind := ternary "issuer" "cluster-issuer" (eq .Values.certificate.issuerKind "Issuer") }}
{{- dict (printf "cert-manager.io/%s" $kind) .Values.certificate.issuer "cert-manager.io/private-key-rotation-policy" "Always" | toYaml }}
{{- end }}
{{- end }}
