{{/*
Returns the one pod template. What must hold for every pod is written here, so that components cannot differ in it.
Takes root, component, values (of the component), args (of `waypost`) or command, env (its own variables), ports, volumes,
mounts, grace (seconds), probes (whether there are any), token (whether the service account's token is mounted), account,
restart (the restart policy of a Job's pod), annotations.
*/}}
{{- define "waypost.pod" -}}
{{- $root := .root }}
{{- $values := .values }}
{{- $volumes := concat (.volumes | default list) (include "waypost.certificateVolumes" . | fromYamlArray) $values.extraVolumes }}
{{- $mounts := concat (.mounts | default list) (include "waypost.certificateMounts" . | fromYamlArray) $values.extraVolumeMounts }}
{{- $annotations := merge (dict) $values.podAnnotations (.annotations | default dict) -}}
metadata:
  labels:
    {{- include "waypost.labels" . | nindent 4 }}
    {{- with omit $values.podLabels "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component" "app.kubernetes.io/part-of" }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ .account }}
  automountServiceAccountToken: {{ .token | default false }}
  enableServiceLinks: false
  {{- with $root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .restart }}
  restartPolicy: {{ . }}
  {{- end }}
  {{- with .grace }}
  terminationGracePeriodSeconds: {{ . }}
  {{- end }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile:
      type: RuntimeDefault
  containers:
    - name: {{ .component }}
      image: {{ include "waypost.image" $root }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      {{- with .command }}
      command: {{ toJson . }}
      {{- end }}
      {{- with .args }}
      args: {{ toJson . }}
      {{- end }}
      env:
        {{- include "waypost.environment" (dict "root" $root "component" .component "own" (.env | default list)) | nindent 8 }}
      {{- with $values.extraEnvFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .ports }}
      ports:
        {{- range . }}
        - name: {{ .name }}
          containerPort: {{ .port }}
          protocol: TCP
        {{- end }}
      {{- end }}
      {{- if .probes }}
      startupProbe:
        httpGet: {path: /healthz, port: probes}
        # Two minutes, because a node on which everything starts at once is slow.
        periodSeconds: 2
        failureThreshold: 60
        timeoutSeconds: 3
      livenessProbe:
        httpGet: {path: /healthz, port: probes}
        periodSeconds: 15
        failureThreshold: 4
        timeoutSeconds: 5
      readinessProbe:
        httpGet: {path: /readyz, port: probes}
        periodSeconds: 5
        failureThreshold: 2
        # Longer than the database's own deadlines, so that the answer can name what is unavailable.
        timeoutSeconds: 12
      {{- end }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
      resources:
        {{- toYaml $values.resources | nindent 8 }}
      volumeMounts:
        - name: tmp
          mountPath: /tmp
        {{- with $mounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: tmp
      emptyDir:
        sizeLimit: 64Mi
    {{- with $volumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if not .restart }}
  topologySpreadConstraints:
    {{- if $values.topologySpreadConstraints }}
    {{- toYaml $values.topologySpreadConstraints | nindent 4 }}
    {{- else }}
    {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "waypost.selector" $ | nindent 10 }}
      # Counts the pods of this revision only. Otherwise the old pods would push the new ones together in a rollout.
      matchLabelKeys: [pod-template-hash]
    {{- end }}
    {{- end }}
  {{- end }}
{{- end }}

{{/* Returns the volumes with the certificate authorities that a component needs. Takes root, component. */}}
{{- define "waypost.certificateVolumes" -}}
{{- $found := list }}
{{- range $server := include "waypost.certificatesOf" . | fromYamlArray }}
{{- $secret := (get $.root.Values $server).caSecret }}
{{- $found = append $found (dict "name" (printf "%s-ca" $server) "secret" (dict "secretName" $secret.name "defaultMode" 288 "items" (list (dict "key" $secret.key "path" "ca.crt")))) }}
{{- end }}
{{- toYaml $found }}
{{- end }}

{{/* Returns the mounts of these volumes. Takes root, component. */}}
{{- define "waypost.certificateMounts" -}}
{{- $found := list }}
{{- range $server := include "waypost.certificatesOf" . | fromYamlArray }}
{{- $found = append $found (dict "name" (printf "%s-ca" $server) "mountPath" (printf "/etc/waypost/tls/%s" $server) "readOnly" true) }}
{{- end }}
{{- toYaml $found }}
{{- end }}

{{/* Returns a list of the servers whose certificate authority a component needs: "database", "redis". */}}
{{- define "waypost.certificatesOf" -}}
{{- $found := list }}
{{- if and .root.Values.database.caSecret.name (has .component (list "webhook" "worker" "console" "migrate" "schedule")) }}
{{- $found = append $found "database" }}
{{- end }}
{{- if and .root.Values.redis.caSecret.name (has .component (list "webhook" "worker")) }}
{{- $found = append $found "redis" }}
{{- end }}
{{- toYaml $found }}
{{- end }}

{{/*
Returns the volumes with the files that the operator publishes, as a list in `volumes`. Their Secrets are optional: there
are none before the first number, and they are added to running pods. Where two Secrets have the same key, the later one
counts. The bots have a volume of their own, because a kubelet writes a whole volume when one of its keys changes. Takes
root, audience.
*/}}
{{- define "waypost.registryVolumes" -}}
{{- $sources := list }}
{{- if eq .audience "worker" }}
{{- /* The Secrets of the previous version: its operator may still run, or run again after a rollback. */}}
{{- range until 4 }}
{{- $sources = append $sources (dict "secret" (dict "name" (printf "waypost-registry-worker-%d" .) "optional" true)) }}
{{- end }}
{{- end }}
{{- range until 64 }}
{{- $sources = append $sources (dict "secret" (dict "name" (printf "waypost-registry-%s-%d" (ternary "number" "webhook" (eq $.audience "worker")) .) "optional" true)) }}
{{- end }}
{{- if eq .audience "webhook" }}
{{- $sources = append $sources (dict "secret" (dict "name" (printf "%s-test-route" (include "waypost.fullname" .root)) "optional" true "items" (list (dict "key" "route" "path" (printf "%s.helm-test.json" .root.Release.Namespace))))) }}
{{- end }}
{{- $volumes := list (dict "name" "registry" "projected" (dict "defaultMode" 288 "sources" $sources)) }}
{{- if eq .audience "worker" }}
{{- $bots := list }}
{{- range until 64 }}
{{- $bots = append $bots (dict "secret" (dict "name" (printf "waypost-registry-bot-%d" .) "optional" true)) }}
{{- end }}
{{- $volumes = append $volumes (dict "name" "registry-bots" "projected" (dict "defaultMode" 288 "sources" $bots)) }}
{{- end }}
{{- dict "volumes" $volumes | toJson }}
{{- end }}

{{/* Returns the mounts of these volumes, as a list in `mounts`. Takes audience. */}}
{{- define "waypost.registryMounts" -}}
{{- $mounts := list (dict "name" "registry" "mountPath" (printf "/etc/waypost/registry/%s" .audience) "readOnly" true) }}
{{- if eq .audience "worker" }}
{{- $mounts = append $mounts (dict "name" "registry-bots" "mountPath" "/etc/waypost/registry/bot" "readOnly" true) }}
{{- end }}
{{- dict "mounts" $mounts | toJson }}
{{- end }}

{{/* Returns a checksum of the Secrets that the chart renders, because pods must restart when these change. */}}
{{- define "waypost.checksum" -}}
{{- with include "waypost.connectionsData" . }}
checksum/connections: {{ sha256sum . }}
{{- end }}
{{- end }}
