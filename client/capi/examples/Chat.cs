// A client in C#: as chat.c.
//
//   mcs -out:chat.exe Chat.cs Throng.cs
//   mono chat.exe HOST:PORT KEY NAME PEER...

using System;
using System.Collections.Generic;
using System.Diagnostics;

static class Chat {
    const string Password = "a long password";
    const string Channel = "engines";

    static int Main(string[] words) {
        if (words.Length < 3) {
            Console.Error.WriteLine("usage: chat.exe HOST:PORT KEY NAME PEER...");
            return 2;
        }
        string name = words[2];
        var left = new HashSet<string>(new ArraySegment<string>(words, 3, words.Length - 3));
        using (var client = new ThrongClient(words[0], words[1])) {
            client.SignUp(name, Password);
            var clock = Stopwatch.StartNew();
            while (clock.Elapsed < TimeSpan.FromMinutes(1)) {
                ThrongEvent next;
                if (!client.Wait(100, out next)) continue;
                switch (next.Kind) {
                case ThrongEventKind.SignedUp:
                    client.CreateCharacter(name, Password, name);
                    break;
                case ThrongEventKind.CharacterCreated:
                    client.LogIn(name, Password);
                    break;
                case ThrongEventKind.Entered:
                    Console.WriteLine("{0} is user {1}", name, next.User);
                    client.CreateChannel(Channel);
                    break;
                case ThrongEventKind.JoinRefused:
                    client.JoinChannel(Channel);
                    break;
                case ThrongEventKind.Joined:
                    client.Say(ThrongScope.Channel, next.Target, "hello");
                    break;
                case ThrongEventKind.Message:
                case ThrongEventKind.PastMessage:
                    Console.WriteLine("{0} hears {1}: {2}", name, next.Name, next.Text);
                    left.Remove(next.Name);
                    if (left.Count == 0 && next.Kind == ThrongEventKind.Message) return 0;
                    break;
                case ThrongEventKind.Refused:
                    Console.Error.WriteLine("{0}: refused: {1}", name, ThrongClient.OutcomeText(next.Code));
                    return 1;
                case ThrongEventKind.Unreachable:
                    Console.Error.WriteLine("{0}: unreachable: {1}", name, ThrongClient.ReasonText(next.Code));
                    return 1;
                }
            }
        }
        return 1;
    }
}
