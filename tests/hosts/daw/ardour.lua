-- A session with one MIDI track that plays SoundLoCD and listens to its input: `luasession ardour.lua`, with
-- the session's folder in the environment variable SESSION.
assert (AudioEngine:set_backend ("JACK", "", ""))
local session = create_session (os.getenv ("SESSION"), "bell", 48000)
assert (session)
local plugin = ARDOUR.LuaAPI.new_plugin_info ("SoundLoCD", ARDOUR.PluginType.VST3)
assert (not plugin:isnil (), "Ardour's scan did not find SoundLoCD")
local one_midi = ARDOUR.ChanCount (ARDOUR.DataType ("midi"), 1)
local stereo = ARDOUR.ChanCount (ARDOUR.DataType ("audio"), 2)
local tracks = session:new_midi_track (one_midi, stereo, true, plugin, nil, nil, 1, "SoundLoCD",
	ARDOUR.PresentationInfo.max_order, ARDOUR.TrackMode.Normal, true)
for track in tracks:iter () do
	-- Without a sound card Ardour connects only the right side by itself.
	track:output ():disconnect_all (nil)
	for side = 0, 1 do
		local port = track:output ():audio (side)
		port:connect ("Master/audio_in " .. side + 1)
	end
	track:monitoring_control ():set_value (1, PBD.GroupControlDisposition.NoGroup)
end
session:save_state ("", false, false, false, false, false)
close_session ()
quit ()
