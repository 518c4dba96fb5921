//! Enums whose variants each have a stable word.

/// Declares an enum, and for each variant the word that stands for it in the configuration, in metrics,
/// in answers or in the store. Its words are what `as_str` gives, `parse` finds and `Display` writes.
///
/// A table may have one column more, behind `=>`. `with` names the method that reads it.
macro_rules! words {
    ($(#[$meta:meta])* $vis:vis enum $name:ident {
        $($(#[$doc:meta])* $variant:ident = $word:literal,)+
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $vis enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// All of them, in the order of their declaration.
            $vis const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The stable word.
            $vis const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// Finds one by its word.
            $vis fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
    ($(#[$meta:meta])* $vis:vis enum $name:ident with $column_vis:vis $column:ident: $type:ty {
        $($(#[$doc:meta])* $variant:ident = $word:literal => $value:expr,)+
    }) => {
        crate::words::words! { $(#[$meta])* $vis enum $name { $($(#[$doc])* $variant = $word,)+ } }

        impl $name {
            $column_vis const fn $column(self) -> $type {
                match self { $(Self::$variant => $value,)+ }
            }
        }
    };
}

pub(crate) use words;

#[cfg(test)]
mod tests {
    words! {
        /// The sides of a coin.
        enum Side with value: u8 {
            Heads = "heads" => 1,
            Tails = "tails" => 0,
        }
    }

    #[test]
    fn every_word_is_found_again() {
        for side in Side::ALL {
            assert_eq!(Side::parse(side.as_str()), Some(*side));
            assert_eq!(side.to_string(), side.as_str());
        }
        assert_eq!(Side::ALL, [Side::Heads, Side::Tails]);
        assert_eq!((Side::Heads.value(), Side::Tails.value()), (1, 0));
        assert_eq!(Side::parse("edge"), None);
    }
}
