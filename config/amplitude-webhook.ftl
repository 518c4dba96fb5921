<#--
  The payload of an event for Amplitude's Webhook destination, for pixel-relay.

  You need it only to send less than the default payload: delete the names that you do not map.
  docs/AMPLITUDE.md explains each line.
-->
<#setting number_format="computer">
<#setting time_zone="UTC">
<#assign json = statics['com.amplitude.integrations.connector.utils.FtlUtils']>
{
<#list [
  "$insert_id", "uuid", "event_time", "user_id", "device_id", "session_id",
  "ip_address", "platform", "os_name", "os_version", "version_name", "device_model", "device_carrier",
  "language", "country", "region", "city", "idfa", "adid",
  "event_properties", "user_properties", "groups", "group_properties",
  "derived_properties", "lookup_properties"
] as name>
<#if input[name]??>"${name}": ${json.toJson(input[name])},</#if>
</#list>
"event_type": ${json.toJson(input.event_type)}
}
