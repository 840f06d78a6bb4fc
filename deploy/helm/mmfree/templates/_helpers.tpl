{{- define "mmfree.name" -}}
{{- if contains "mmfree" .Release.Name }}{{ .Release.Name | trunc 63 | trimSuffix "-" }}{{ else }}{{ printf "%s-mmfree" .Release.Name | trunc 63 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "mmfree.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "mmfree.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{ include "mmfree.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- /* What cannot work is said before anything is made. */}}
{{- define "mmfree.check" -}}
{{- if and .Values.auth.existingSecret .Values.auth.none }}{{ fail "auth: give existingSecret or none, not both" }}{{ end }}
{{- if not (or .Values.auth.existingSecret .Values.auth.none) }}{{ fail "auth: give existingSecret, a secret of API keys, or none: true to serve whoever comes" }}{{ end }}
{{- if and .Values.model.fetch.url (not .Values.model.fetch.sha256) }}{{ fail "model.fetch.sha256: is missing, must be the SHA-256 of the file" }}{{ end }}
{{- if and .Values.model.path (not .Values.model.volume) (not .Values.model.fetch.url) }}{{ fail "model.path: needs model.volume or model.fetch.url" }}{{ end }}
{{- if and (not .Values.model.path) (or .Values.model.volume .Values.model.fetch.url) }}{{ fail "model.path: is missing, must be the path of the model file in the pod" }}{{ end }}
{{- if and .Values.serviceMonitor.enabled .Values.auth.existingSecret (not .Values.serviceMonitor.apiKeySecret) }}{{ fail "serviceMonitor.apiKeySecret: is missing: /metrics needs an API key" }}{{ end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) }}{{ fail "ingress.host: is missing" }}{{ end }}
{{- end }}
