{{- define "harbor.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}
{{- define "harbor.selector" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
{{- define "harbor.pod" -}}
automountServiceAccountToken: false
serviceAccountName: {{ .Release.Name }}
securityContext:
  runAsNonRoot: true
  seccompProfile:
    type: RuntimeDefault
containers:
- name: harbor
  image: {{ .Values.image }}
  env:
  - name: GREETING
    valueFrom:
      configMapKeyRef:
        name: {{ .Release.Name }}
        key: greeting
  securityContext:
    allowPrivilegeEscalation: false
    capabilities:
      drop: [ALL]
{{- end }}
