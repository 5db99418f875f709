{{- define "openhands.labels" -}}
app.kubernetes.io/name: openhands
app.kubernetes.io/instance: {{ .Release.Name }}
{{- with .Values.team }}
team: {{ . }}
{{- end }}
{{- end }}
