// libthrong for C#: as Unity or any other .NET program would call it.
//
// ThrongClient is one client. Poll it once a frame. It is not a MonoBehaviour: make it in Awake,
// poll it in Update, dispose of it in OnDestroy.

using System;
using System.Runtime.InteropServices;
using System.Text;

public enum ThrongEventKind : uint {
    SignedUp, CharacterCreated, Refused, Queued, TooFast, Unreachable, Entered, Away, Resumed, Left,
    Message, PastMessage, History, MessageRefused, MessageUncertain, Missed, UserEntered, UserLeft,
    Listed, Joined, JoinRefused, ChannelLeft, KickAnswered, Channel, Channels, Pong, Other,
}

public enum ThrongScope : uint { World, Channel, Nearby, Whisper }

public enum ThrongState { Out, In, Away }

/// An event, with copies of its texts.
public struct ThrongEvent {
    public ThrongEventKind Kind;
    public uint Code, Target, User;
    public ThrongScope Scope;
    public bool Flag;
    public ulong Sequence, Stamp, Count;
    public TimeSpan Time;
    public string Name, Text;
}

/// A function did not do what it was asked.
public class ThrongException : Exception {
    public ThrongException(string message) : base(message) {}
}

/// One client. It may be used from any thread, but from one at a time.
public sealed class ThrongClient : IDisposable {
    IntPtr handle;

    public ThrongClient(string server, string serverKey, bool logInAgain = true) {
        using (var address = new Native.Pinned(server))
        using (var key = new Native.Pinned(serverKey)) {
            var settings = new Native.Settings {
                Size = (UIntPtr)Marshal.SizeOf(typeof(Native.Settings)),
                Server = address.Text, ServerKey = key.Text, LogInAgain = logInAgain ? 1u : 0u,
            };
            Check(Native.throng_client_new(ref settings, out handle));
        }
    }

    public ThrongState State { get { return (ThrongState)Native.throng_client_state(Handle); } }

    public void SignUp(string id, string password) {
        byte[] a = Utf8(id), b = Utf8(password);
        Check(Native.throng_sign_up(Handle, a, Length(a), b, Length(b)));
    }

    public void CreateCharacter(string id, string password, string name) {
        byte[] a = Utf8(id), b = Utf8(password), c = Utf8(name);
        Check(Native.throng_create_character(Handle, a, Length(a), b, Length(b), c, Length(c)));
    }

    public void LogIn(string id, string password) {
        byte[] a = Utf8(id), b = Utf8(password);
        Check(Native.throng_log_in(Handle, a, Length(a), b, Length(b)));
    }

    public void LogOut() { Check(Native.throng_log_out(Handle)); }

    /// Sends a message. Returns its stamp, which its Message or MessageRefused has too.
    public ulong Say(ThrongScope scope, uint target, string text) {
        byte[] words = Utf8(text);
        ulong stamp;
        Check(Native.throng_say(Handle, (uint)scope, target, words, Length(words), out stamp));
        return stamp;
    }

    public void CreateChannel(string name) {
        byte[] words = Utf8(name);
        Check(Native.throng_channel_create(Handle, words, Length(words)));
    }

    public void JoinChannel(string name) {
        byte[] words = Utf8(name);
        Check(Native.throng_channel_join(Handle, words, Length(words)));
    }

    public void LeaveChannel(uint channel) { Check(Native.throng_channel_leave(Handle, channel)); }

    public void MoveTo(int x, int y) { Check(Native.throng_move(Handle, x, y)); }

    public void Ping() { Check(Native.throng_ping(Handle)); }

    /// Takes the next event, if there is one.
    public bool Poll(out ThrongEvent next) { return Wait(0, out next); }

    /// Takes the next event, after waiting for at most so many milliseconds.
    public bool Wait(uint milliseconds, out ThrongEvent next) {
        var native = new Native.Event { Size = (UIntPtr)Marshal.SizeOf(typeof(Native.Event)) };
        int found = milliseconds == 0 ? Native.throng_poll(Handle, ref native)
                                      : Native.throng_wait(Handle, milliseconds, ref native);
        if (found < 0) throw new ThrongException("libthrong is of another version");
        next = new ThrongEvent {
            Kind = (ThrongEventKind)native.Kind, Code = native.Code, Target = native.Target,
            User = native.User, Scope = (ThrongScope)native.Scope, Flag = native.Flag != 0,
            Sequence = native.Sequence, Stamp = native.Stamp, Count = native.Count,
            Time = TimeSpan.FromTicks((long)native.Micros * 10),
            Name = native.Name.ToString(), Text = native.Said.ToString(),
        };
        return found == 1;
    }

    public static string OutcomeText(uint code) { return Native.Ascii(Native.throng_outcome_text(code)); }

    public static string ReasonText(uint code) { return Native.Ascii(Native.throng_reason_text(code)); }

    /// Leaves the chat.
    public void Dispose() {
        if (handle == IntPtr.Zero) return;
        Native.throng_client_free(handle);
        handle = IntPtr.Zero;
        GC.SuppressFinalize(this);
    }

    ~ThrongClient() { Dispose(); }

    IntPtr Handle {
        get {
            if (handle == IntPtr.Zero) throw new ObjectDisposedException("ThrongClient");
            return handle;
        }
    }

    static byte[] Utf8(string text) { return Encoding.UTF8.GetBytes(text); }

    static UIntPtr Length(byte[] bytes) { return (UIntPtr)bytes.Length; }

    static void Check(int status) {
        if (status != 0) throw new ThrongException(Native.Ascii(Native.throng_status_text((uint)status)));
    }

    static class Native {
        const string Library = "throng";

        [StructLayout(LayoutKind.Sequential)]
        internal struct Words {
            internal IntPtr Data;
            internal UIntPtr Length;

            public override string ToString() {
                if (Data == IntPtr.Zero) return "";
                var bytes = new byte[(int)Length];
                Marshal.Copy(Data, bytes, 0, bytes.Length);
                return Encoding.UTF8.GetString(bytes);
            }
        }

        /// A text that does not move while it is passed on.
        internal sealed class Pinned : IDisposable {
            GCHandle pin;
            internal readonly Words Text;

            internal Pinned(string text) {
                byte[] bytes = Utf8(text);
                pin = GCHandle.Alloc(bytes, GCHandleType.Pinned);
                Text = new Words { Data = pin.AddrOfPinnedObject(), Length = Length(bytes) };
            }

            public void Dispose() { pin.Free(); }
        }

        [StructLayout(LayoutKind.Sequential)]
        internal struct Settings {
            internal UIntPtr Size;
            internal Words Server, ServerKey;
            internal uint LogInAgain;
        }

        [StructLayout(LayoutKind.Sequential)]
        internal struct Event {
            internal UIntPtr Size;
            internal uint Kind, Code, Scope, Target, User, Flag;
            internal ulong Sequence, Stamp, Count, Micros;
            internal Words Name, Said;
        }

        internal static string Ascii(IntPtr text) { return Marshal.PtrToStringAnsi(text); }

        [DllImport(Library)] internal static extern IntPtr throng_status_text(uint status);
        [DllImport(Library)] internal static extern IntPtr throng_outcome_text(uint code);
        [DllImport(Library)] internal static extern IntPtr throng_reason_text(uint code);
        [DllImport(Library)] internal static extern int throng_client_new(ref Settings settings, out IntPtr client);
        [DllImport(Library)] internal static extern void throng_client_free(IntPtr client);
        [DllImport(Library)] internal static extern int throng_client_state(IntPtr client);
        [DllImport(Library)] internal static extern int throng_sign_up(
            IntPtr client, byte[] id, UIntPtr idLength, byte[] password, UIntPtr passwordLength);
        [DllImport(Library)] internal static extern int throng_create_character(
            IntPtr client, byte[] id, UIntPtr idLength, byte[] password, UIntPtr passwordLength,
            byte[] name, UIntPtr nameLength);
        [DllImport(Library)] internal static extern int throng_log_in(
            IntPtr client, byte[] id, UIntPtr idLength, byte[] password, UIntPtr passwordLength);
        [DllImport(Library)] internal static extern int throng_log_out(IntPtr client);
        [DllImport(Library)] internal static extern int throng_say(
            IntPtr client, uint scope, uint target, byte[] text, UIntPtr length, out ulong stamp);
        [DllImport(Library)] internal static extern int throng_channel_create(
            IntPtr client, byte[] name, UIntPtr length);
        [DllImport(Library)] internal static extern int throng_channel_join(
            IntPtr client, byte[] name, UIntPtr length);
        [DllImport(Library)] internal static extern int throng_channel_leave(IntPtr client, uint channel);
        [DllImport(Library)] internal static extern int throng_move(IntPtr client, int x, int y);
        [DllImport(Library)] internal static extern int throng_ping(IntPtr client);
        [DllImport(Library)] internal static extern int throng_poll(IntPtr client, ref Event next);
        [DllImport(Library)] internal static extern int throng_wait(
            IntPtr client, uint milliseconds, ref Event next);
    }
}
